-- Grain: one row per pipeline with loaded objects in the ledger: how long those that arrived in its newest batch with
-- new objects took from delivery to commit, in seconds. A reprocessed object keeps the time at which it arrived.
SELECT
    PIPELINE,
    MEDIAN(DATEDIFF('SECOND', LAST_MODIFIED, ARRIVED_AT)) AS MEDIAN_SECONDS,
    MAX(DATEDIFF('SECOND', LAST_MODIFIED, ARRIVED_AT)) AS MAX_SECONDS
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE IN (%(pipelines)s)
    AND STATUS = 'loaded'
    AND ARRIVED_AT IS NOT NULL
GROUP BY PIPELINE, ARRIVED_AT
QUALIFY ROW_NUMBER() OVER (PARTITION BY PIPELINE ORDER BY ARRIVED_AT DESC) = 1
ORDER BY PIPELINE
