-- Makes: a schema visible to a role.
GRANT USAGE ON SCHEMA ${schema} TO ROLE ${role}
