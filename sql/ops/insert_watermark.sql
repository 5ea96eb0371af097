-- Makes: the watermark that this batch publishes.
INSERT INTO OPS.WATERMARKS (PIPELINE, NAME, VALUE, BATCH_ID, MOVED_AT)
VALUES (%(pipeline)s, %(name)s, %(value)s, %(batch_id)s, %(at)s)
