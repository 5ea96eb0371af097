-- Makes: the tables that exist readable for a role.
GRANT SELECT ON ALL TABLES IN SCHEMA ${schema} TO ROLE ${role}
