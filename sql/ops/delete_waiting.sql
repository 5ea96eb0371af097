-- Makes: the quarantine without the records of the object versions that this batch processed, which it inserts anew;
-- replayed and discarded records stay.
DELETE FROM OPS.QUARANTINE
USING OPS.STAGE_FILE_LEDGER AS S
WHERE
    QUARANTINE.PIPELINE = S.PIPELINE
    AND QUARANTINE.DATASET = S.DATASET
    AND QUARANTINE.SOURCE_URI = S.URI
    AND QUARANTINE.SOURCE_ETAG = S.ETAG
    AND QUARANTINE.REPLAYED_AT IS NULL
    AND COALESCE(QUARANTINE.CLOSED_AS, '') <> 'discarded'
