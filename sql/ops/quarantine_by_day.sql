-- Grain: one row per pipeline and UTC day on which records or objects came into quarantine or were closed.
SELECT
    PIPELINE,
    MOVED_ON,
    SUM(CAME) AS CAME,
    SUM(CLOSED) AS CLOSED
FROM (
    SELECT
        PIPELINE,
        TO_DATE(QUARANTINED_AT) AS MOVED_ON,
        1 AS CAME,
        0 AS CLOSED
    FROM OPS.QUARANTINE
    WHERE PIPELINE IN (%(pipelines)s)
    UNION ALL
    SELECT
        PIPELINE,
        TO_DATE(COALESCE(CLOSED_AT, REPLAYED_AT)) AS MOVED_ON,
        0 AS CAME,
        1 AS CLOSED
    FROM OPS.QUARANTINE
    WHERE
        PIPELINE IN (%(pipelines)s)
        AND COALESCE(CLOSED_AT, REPLAYED_AT) IS NOT NULL
) AS MOVED
GROUP BY PIPELINE, MOVED_ON
ORDER BY PIPELINE, MOVED_ON
