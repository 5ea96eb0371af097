-- Grain: one row: when an object of a dataset was last loaded or rejected, and the newest time of one by its store.
SELECT
    MAX(LOADED_AT) AS TAKEN_AT,
    MAX(LAST_MODIFIED) AS MODIFIED_AT
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE = %(pipeline)s
    AND DATASET = %(dataset)s
