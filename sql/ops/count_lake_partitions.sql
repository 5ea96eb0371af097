-- Grain: one row, the number of registered partitions of a lake table.
SELECT COUNT(*) AS LAKE_PARTITIONS
FROM OPS.LAKE_PARTITIONS
WHERE TABLE_NAME = %(table_name)s
