-- Makes: the end of waiting of each quarantined record that this batch loads.
UPDATE OPS.QUARANTINE
SET
    REPLAYED_AT = %(at)s,
    REPLAY_RUN_ID = %(run_id)s
FROM OPS.STAGE_RELEASED AS S
WHERE
    QUARANTINE.QUARANTINE_ID = S.QUARANTINE_ID
    AND QUARANTINE.REPLAYED_AT IS NULL
