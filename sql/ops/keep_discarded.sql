-- Makes: the staged records without discarded ones, which stay closed however often their object is read.
DELETE FROM OPS.STAGE_QUARANTINE
USING OPS.QUARANTINE AS Q
WHERE
    STAGE_QUARANTINE.QUARANTINE_ID = Q.QUARANTINE_ID
    AND Q.CLOSED_AS = 'discarded'
