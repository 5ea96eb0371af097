-- Grain: one row per record or object that waits in quarantine, among the given ids.
SELECT QUARANTINE_ID
FROM OPS.QUARANTINE
WHERE
    PIPELINE = %(pipeline)s
    AND REPLAYED_AT IS NULL
    AND CLOSED_AT IS NULL
    AND QUARANTINE_ID IN (%(ids)s)
