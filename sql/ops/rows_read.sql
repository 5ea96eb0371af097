-- Grain: one row, the number of rows read from the current objects of a pipeline; NULL if it has none.
SELECT SUM(ROWS_READ) AS ROWS_READ
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE = %(pipeline)s
    AND REPLACED_AT IS NULL
