-- Makes: the quarantine without the rows that this batch inserts anew. So a record that a replay loaded, and that is
-- rejected when its object is processed again, has a single row.
DELETE FROM OPS.QUARANTINE
USING OPS.STAGE_QUARANTINE AS S
WHERE QUARANTINE.QUARANTINE_ID = S.QUARANTINE_ID
