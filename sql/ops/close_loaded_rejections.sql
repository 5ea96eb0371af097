-- Makes: the end of waiting of each object that was rejected whole and that this batch loads, in any version.
UPDATE OPS.QUARANTINE
SET
    REPLAYED_AT = %(at)s,
    REPLAY_RUN_ID = %(run_id)s
FROM OPS.STAGE_FILE_LEDGER AS S
WHERE
    QUARANTINE.PIPELINE = S.PIPELINE
    AND QUARANTINE.DATASET = S.DATASET
    AND QUARANTINE.SOURCE_URI = S.URI
    AND S.STATUS = 'loaded'
    AND QUARANTINE.LINE_NUMBER IS NULL
    AND QUARANTINE.REPLAYED_AT IS NULL
