-- Grain: one row per object of a pipeline in the ledger.
SELECT DISTINCT URI
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE = %(pipeline)s
    AND REPLACED_AT IS NULL
