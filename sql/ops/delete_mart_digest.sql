-- Makes: the digests of marts without the digest of this mart.
DELETE FROM OPS.MARTS
WHERE TABLE_NAME = %(table_name)s
