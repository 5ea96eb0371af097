-- Makes: the partitions of a lake table without those of a JSON list; those that have files are inserted anew.
DELETE FROM OPS.LAKE_PARTITIONS
WHERE
    TABLE_NAME = %(table_name)s
    AND PARTITION_VALUE IN (
        SELECT CAST(F.VALUE AS VARCHAR) FROM TABLE(FLATTEN(INPUT => PARSE_JSON(%(partitions)s))) AS F
    )
