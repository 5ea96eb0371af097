-- Makes: the tables that exist writable for the pipelines; they may not drop, alter or truncate one.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO ROLE ${role}
