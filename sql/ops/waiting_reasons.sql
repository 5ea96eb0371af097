-- Grain: one row per reason for which records of a pipeline wait in quarantine.
SELECT
    REASON_CODE,
    COUNT(*) AS RECORDS
FROM OPS.QUARANTINE
WHERE
    PIPELINE = %(pipeline)s
    AND REPLAYED_AT IS NULL
    AND CLOSED_AT IS NULL
    AND LINE_NUMBER IS NOT NULL
GROUP BY REASON_CODE
ORDER BY REASON_CODE
