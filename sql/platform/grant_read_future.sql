-- Makes: tables to come readable for a role.
GRANT SELECT ON FUTURE TABLES IN SCHEMA ${schema} TO ROLE ${role}
