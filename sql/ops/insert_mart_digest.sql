-- Makes: the digest of the current SELECT of a mart.
INSERT INTO OPS.MARTS (TABLE_NAME, SELECT_DIGEST)
VALUES (%(table_name)s, %(digest)s)
