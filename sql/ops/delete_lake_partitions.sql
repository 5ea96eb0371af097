-- Makes: the list of a lake table's partitions without some, of which those that have files are inserted anew.
DELETE FROM OPS.LAKE_PARTITIONS
WHERE
    TABLE_NAME = %(table_name)s
    AND PARTITION_VALUE IN (%(partitions)s)
