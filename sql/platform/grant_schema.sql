-- Makes: a grant to use a schema.
GRANT USAGE ON SCHEMA ${schema} TO ROLE ${role}
