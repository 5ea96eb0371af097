-- Makes: discarded records and objects, of the waiting ones, with the reason that a person gave.
UPDATE OPS.QUARANTINE
SET
    CLOSED_AT = %(at)s,
    CLOSED_AS = 'discarded',
    CLOSED_BECAUSE = %(reason)s
WHERE
    PIPELINE = %(pipeline)s
    AND REPLAYED_AT IS NULL
    AND CLOSED_AT IS NULL
    AND (%(every_id)s OR QUARANTINE_ID IN (%(ids)s))
