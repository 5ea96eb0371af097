-- Makes: the digests of marts without that of one.
DELETE FROM OPS.MARTS
WHERE TABLE_NAME = %(table_name)s
