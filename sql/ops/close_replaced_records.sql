-- Makes: closed records of each object of which this batch loads another version: that version replaces them all.
UPDATE OPS.QUARANTINE
SET
    CLOSED_AT = %(at)s,
    CLOSED_AS = 'replaced'
FROM OPS.STAGE_FILE_LEDGER AS S
WHERE
    QUARANTINE.PIPELINE = S.PIPELINE
    AND QUARANTINE.DATASET = S.DATASET
    AND QUARANTINE.SOURCE_URI = S.URI
    AND QUARANTINE.SOURCE_ETAG <> S.ETAG
    AND S.STATUS = 'loaded'
    AND QUARANTINE.REPLAYED_AT IS NULL
    AND QUARANTINE.CLOSED_AT IS NULL
