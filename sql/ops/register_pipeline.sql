-- Makes: the counter row of a pipeline, unless it exists.
INSERT INTO OPS.PIPELINES (PIPELINE, PUBLISHED_BATCHES)
SELECT
    %(pipeline)s AS PIPELINE,
    0 AS PUBLISHED_BATCHES
WHERE NOT EXISTS (
    SELECT 1
    FROM OPS.PIPELINES
    WHERE PIPELINE = %(pipeline)s
)
