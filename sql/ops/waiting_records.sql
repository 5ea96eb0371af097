-- Grain: one row per record that waits in quarantine and may be validated again, by object and line.
-- Malformed records are left out until their object is delivered again: a change of the contract cannot repair them,
-- and of bytes that are not UTF-8 only a transcription is kept.
SELECT
    QUARANTINE_ID,
    SOURCE_URI,
    SOURCE_ETAG,
    SOURCE_MODIFIED_AT,
    LINE_NUMBER,
    REASON_CODE,
    RAW_RECORD,
    SOURCE_COLUMNS
FROM OPS.QUARANTINE
WHERE
    PIPELINE = %(pipeline)s
    AND DATASET = %(dataset)s
    AND REPLAYED_AT IS NULL
    AND CLOSED_AT IS NULL
    AND LINE_NUMBER IS NOT NULL
    AND REASON_CODE <> 'malformed_record'
    AND (%(every_code)s OR REASON_CODE IN (%(codes)s))
    AND (%(every_id)s OR QUARANTINE_ID IN (%(ids)s))
ORDER BY SOURCE_URI, SOURCE_ETAG, LINE_NUMBER
