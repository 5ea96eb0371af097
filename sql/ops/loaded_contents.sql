-- Grain: one row per archive whose current version is loaded, had records, and has one of the given SHA-256.
SELECT
    CONTENT_SHA256,
    URI
FROM OPS.FILE_LEDGER
WHERE
    PIPELINE = %(pipeline)s
    AND DATASET = %(dataset)s
    AND STATUS = 'loaded'
    AND ROWS_READ > 0
    AND REPLACED_AT IS NULL
    AND CONTENT_SHA256 IN (
        SELECT CAST(F.VALUE AS VARCHAR) FROM TABLE(FLATTEN(INPUT => PARSE_JSON(%(digests)s))) AS F
    )
