-- Grain: one row per pipeline with a record or an object that waits in quarantine.
SELECT
    PIPELINE,
    COUNT(*) AS WAITING
FROM OPS.QUARANTINE
WHERE
    REPLAYED_AT IS NULL
    AND CLOSED_AT IS NULL
GROUP BY PIPELINE
