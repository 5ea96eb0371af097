-- Makes: a grant to read the future views of a schema.
GRANT SELECT ON FUTURE VIEWS IN SCHEMA ${schema} TO ROLE ${role}
