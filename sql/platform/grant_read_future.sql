-- Makes: a grant to read the future tables of a schema.
GRANT SELECT ON FUTURE TABLES IN SCHEMA ${schema} TO ROLE ${role}
