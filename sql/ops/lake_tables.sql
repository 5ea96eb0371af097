-- Grain: one row per lake table with a registered partition.
SELECT DISTINCT TABLE_NAME
FROM OPS.LAKE_PARTITIONS
ORDER BY TABLE_NAME
