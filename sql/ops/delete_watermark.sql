-- Makes: the watermarks without the earlier value of this one.
DELETE FROM OPS.WATERMARKS
WHERE
    PIPELINE = %(pipeline)s
    AND NAME = %(name)s
