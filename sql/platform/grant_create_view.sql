-- Makes: a grant to the loading role, to create the views of a schema and to replace them when their SELECT changes.
GRANT CREATE VIEW ON SCHEMA ${schema} TO ROLE ${role}
