-- Makes: a grant to read the existing views of a schema.
GRANT SELECT ON ALL VIEWS IN SCHEMA ${schema} TO ROLE ${role}
