-- Grain: one row per object in the ledger, with the time of its newest version.
SELECT
    DATASET,
    URI,
    MAX(LAST_MODIFIED) AS LAST_MODIFIED
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE = %(pipeline)s
    AND URI IN (%(uris)s)
GROUP BY DATASET, URI
