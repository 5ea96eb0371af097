-- Makes: the digest of the SELECT that makes a mart from now on.
INSERT INTO OPS.MARTS (TABLE_NAME, SELECT_DIGEST)
VALUES (%(table_name)s, %(digest)s)
