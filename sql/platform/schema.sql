-- Makes: a schema in which only its owner grants: the owner of a table cannot show it to others.
CREATE SCHEMA IF NOT EXISTS ${schema} WITH MANAGED ACCESS COMMENT = ${comment}
