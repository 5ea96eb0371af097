-- Grain: one row per object in the ledger, with the time of its newest version that had bytes, or that had records.
SELECT
    DATASET,
    URI,
    MAX(LAST_MODIFIED) AS LAST_MODIFIED
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE = %(pipeline)s
    AND URI IN (
        SELECT CAST(F.VALUE AS VARCHAR) FROM TABLE(FLATTEN(INPUT => PARSE_JSON(%(uris)s))) AS F
    )
    AND (NOT %(only_with_records)s OR (STATUS = 'loaded' AND ROWS_READ > 0))
    AND NOT STARTSWITH(ETAG, 'foreign:')
GROUP BY DATASET, URI
