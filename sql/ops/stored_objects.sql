-- Grain: one row per object of a moved source in the ledger, its current version, with where its bytes are now.
SELECT
    URI,
    ETAG,
    SIZE_BYTES,
    LAST_MODIFIED,
    STATUS,
    CONTENT_SHA256,
    CURRENT_URI
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE = %(pipeline)s
    AND DATASET = %(dataset)s
    AND REPLACED_AT IS NULL
    AND CURRENT_URI IS NOT NULL
    AND (
        %(every_uri)s
        OR URI IN (
            SELECT CAST(F.VALUE AS VARCHAR) FROM TABLE(FLATTEN(INPUT => PARSE_JSON(%(uris)s))) AS F
        )
    )
