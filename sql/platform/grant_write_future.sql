-- Makes: tables to come writable for the pipelines.
GRANT SELECT, INSERT, UPDATE, DELETE ON FUTURE TABLES IN SCHEMA ${schema} TO ROLE ${role}
