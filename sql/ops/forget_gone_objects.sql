-- Makes: REPLACED_AT of foreign objects that no zone lists any more, given as etag, blank, uri. So one that returns is
-- new, and reported again.
UPDATE OPS.FILE_LEDGER
SET REPLACED_AT = %(at)s
WHERE
    PIPELINE = %(pipeline)s
    AND ETAG || ' ' || URI IN (%(objects)s)
    AND REPLACED_AT IS NULL
