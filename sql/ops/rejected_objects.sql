-- Grain: one row per object version that was rejected whole and not loaded since.
SELECT
    SOURCE_URI,
    SOURCE_ETAG
FROM OPS.QUARANTINE
WHERE
    PIPELINE = %(pipeline)s
    AND LINE_NUMBER IS NULL
    AND REPLAYED_AT IS NULL
    AND CLOSED_AT IS NULL
    AND (%(every_id)s OR QUARANTINE_ID IN (%(ids)s))
    AND (%(every_dataset)s OR DATASET IN (%(datasets)s))
