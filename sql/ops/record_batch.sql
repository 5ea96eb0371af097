-- Makes: the row of a batch that is being published.
INSERT INTO OPS.BATCHES (BATCH_ID, PIPELINE, RUN_ID, PUBLISHED_AT, ENGINE_SECONDS, WAREHOUSE_SECONDS)
VALUES (%(batch_id)s, %(pipeline)s, %(run_id)s, %(at)s, %(engine_seconds)s, %(warehouse_seconds)s)
