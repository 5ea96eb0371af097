-- Makes: a grant to the pipelines, to write the future tables of a schema.
GRANT SELECT, INSERT, UPDATE, DELETE ON FUTURE TABLES IN SCHEMA ${schema} TO ROLE ${role}
