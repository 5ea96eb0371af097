-- Makes: closed records of foreign objects that no zone lists any more, given as etag, blank, uri.
UPDATE OPS.QUARANTINE
SET
    CLOSED_AT = %(at)s,
    CLOSED_AS = 'gone',
    CLOSED_BECAUSE = 'It is no longer in the landing zone.'
WHERE
    PIPELINE = %(pipeline)s
    AND SOURCE_ETAG || ' ' || SOURCE_URI IN (%(objects)s)
    AND LINE_NUMBER IS NULL
    AND REPLAYED_AT IS NULL
    AND CLOSED_AT IS NULL
