-- Makes: the views that exist readable for a role.
GRANT SELECT ON ALL VIEWS IN SCHEMA ${schema} TO ROLE ${role}
