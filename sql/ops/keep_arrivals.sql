-- Makes: the staged ledger rows with the first arrival of each object version that is taken again. Bytes that are put
-- back at a key, after others, are a new arrival.
UPDATE OPS.STAGE_FILE_LEDGER
SET ARRIVED_AT = COALESCE(L.ARRIVED_AT, L.LOADED_AT)
FROM OPS.FILE_LEDGER AS L
WHERE
    STAGE_FILE_LEDGER.PIPELINE = L.PIPELINE
    AND STAGE_FILE_LEDGER.DATASET = L.DATASET
    AND STAGE_FILE_LEDGER.URI = L.URI
    AND STAGE_FILE_LEDGER.ETAG = L.ETAG
    AND STAGE_FILE_LEDGER.SIZE_BYTES = L.SIZE_BYTES
    AND L.REPLACED_AT IS NULL
