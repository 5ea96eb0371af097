-- Grain: one row, 1 if the batch was published and 0 if not.
SELECT COUNT(*) AS BATCHES
FROM OPS.BATCHES
WHERE BATCH_ID = %(batch_id)s
