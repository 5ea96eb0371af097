-- Makes: a grant to read the existing tables of a schema.
GRANT SELECT ON ALL TABLES IN SCHEMA ${schema} TO ROLE ${role}
