-- Makes: the quarantine without the rows that this batch inserts anew: a record that a replay loaded and that
-- reprocessing rejects again keeps a single row.
DELETE FROM OPS.QUARANTINE
USING OPS.STAGE_QUARANTINE AS S
WHERE QUARANTINE.QUARANTINE_ID = S.QUARANTINE_ID
