-- Makes: the quarantine without the records that were closed before a moment; waiting ones stay.
DELETE FROM OPS.QUARANTINE
WHERE
    (%(every_pipeline)s OR PIPELINE = %(pipeline)s)
    AND COALESCE(CLOSED_AT, REPLAYED_AT) < %(before)s
