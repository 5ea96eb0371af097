-- Makes: no grant to read the future views of a schema, whose tables may not be masked yet.
REVOKE SELECT ON FUTURE VIEWS IN SCHEMA ${schema} FROM ROLE ${role}
