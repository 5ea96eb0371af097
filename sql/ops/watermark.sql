-- Grain: one row, the last published value of a watermark; none if it was never set.
SELECT VALUE
FROM OPS.WATERMARKS
WHERE
    PIPELINE = %(pipeline)s
    AND NAME = %(name)s
