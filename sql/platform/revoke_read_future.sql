-- Makes: no grant to read the future tables of a schema, in which runs create tables that nothing has masked yet.
REVOKE SELECT ON FUTURE TABLES IN SCHEMA ${schema} FROM ROLE ${role}
