-- Makes: one more published batch of a pipeline, unless another was published since this one was planned.
UPDATE OPS.PIPELINES
SET PUBLISHED_BATCHES = PUBLISHED_BATCHES + 1
WHERE
    PIPELINE = %(pipeline)s
    AND PUBLISHED_BATCHES = %(planned_on)s
