-- Makes: the quarantine without what was closed before a moment; what waits stays, however old.
DELETE FROM OPS.QUARANTINE
WHERE
    (%(every_pipeline)s OR PIPELINE = %(pipeline)s)
    AND COALESCE(CLOSED_AT, REPLAYED_AT) < %(before)s
