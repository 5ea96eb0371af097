-- Grain: one row per pipeline with new objects in the ledger: how long those of its newest batch with such objects took
-- from their delivery to the commit, in seconds.
SELECT
    PIPELINE,
    MEDIAN(DATEDIFF('SECOND', LAST_MODIFIED, LOADED_AT)) AS MEDIAN_SECONDS,
    MAX(DATEDIFF('SECOND', LAST_MODIFIED, LOADED_AT)) AS MAX_SECONDS
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE IN (%(pipelines)s)
    AND STATUS = 'loaded'
    AND ARRIVED_AT = LOADED_AT
GROUP BY PIPELINE, LOADED_AT
QUALIFY ROW_NUMBER() OVER (PARTITION BY PIPELINE ORDER BY LOADED_AT DESC) = 1
ORDER BY PIPELINE
