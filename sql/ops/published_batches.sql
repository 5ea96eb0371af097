-- Grain: one row, the number of published batches of a pipeline; none before its first batch.
SELECT PUBLISHED_BATCHES
FROM OPS.PIPELINES
WHERE PIPELINE = %(pipeline)s
