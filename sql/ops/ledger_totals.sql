-- Grain: one row per pipeline with an object in the ledger. An archive counts as one object, though it has a ledger row
-- for its records and one for each list in them.
SELECT
    PIPELINE,
    COUNT(DISTINCT CASE WHEN STATUS = 'loaded' THEN URI || ' ' || ETAG END) AS OBJECTS_LOADED,
    COUNT(DISTINCT CASE WHEN STATUS = 'rejected' THEN URI || ' ' || ETAG END) AS OBJECTS_REJECTED,
    SUM(ROWS_READ) AS ROWS_READ,
    SUM(ROWS_LOADED) AS ROWS_LOADED,
    SUM(ROWS_SUPERSEDED) AS ROWS_SUPERSEDED,
    SUM(ROWS_QUARANTINED) AS ROWS_QUARANTINED,
    MAX(LOADED_AT) AS LOADED_AT
FROM OPS.FILE_LEDGER
WHERE PIPELINE IN (%(pipelines)s)
GROUP BY PIPELINE
ORDER BY PIPELINE
