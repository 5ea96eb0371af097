-- Grain: one row: when the newest object of a dataset arrived, and when one was last loaded or rejected.
SELECT
    MAX(LAST_MODIFIED) AS ARRIVED_AT,
    MAX(LOADED_AT) AS LOADED_AT
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE = %(pipeline)s
    AND DATASET = %(dataset)s
