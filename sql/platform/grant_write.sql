-- Makes: a grant to the pipelines, to write the existing tables of a schema; not to drop, alter or truncate them.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO ROLE ${role}
