-- Grain: one row: when an object version of a dataset was last taken for the first time, and the newest time of one by
-- its store. Rows of earlier versions of the platform have LOADED_AT only.
SELECT
    MAX(COALESCE(ARRIVED_AT, LOADED_AT)) AS LAST_ARRIVAL,
    MAX(LAST_MODIFIED) AS MODIFIED_AT
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE = %(pipeline)s
    AND DATASET = %(dataset)s
