-- Makes: a schema in which only the schema's owner can grant, so that owners of tables cannot.
CREATE SCHEMA IF NOT EXISTS ${schema} WITH MANAGED ACCESS COMMENT = ${comment}
