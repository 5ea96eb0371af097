-- Makes: the staged records without those that a person has discarded: they stay closed, however often they are read.
DELETE FROM OPS.STAGE_QUARANTINE
USING OPS.QUARANTINE AS Q
WHERE
    STAGE_QUARANTINE.QUARANTINE_ID = Q.QUARANTINE_ID
    AND Q.CLOSED_AS = 'discarded'
