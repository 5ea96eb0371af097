-- Makes: the partitions of a lake table without the given ones; those that have files are inserted anew.
DELETE FROM OPS.LAKE_PARTITIONS
WHERE
    TABLE_NAME = %(table_name)s
    AND PARTITION_VALUE IN (%(partitions)s)
