-- Makes: views to come readable for a role.
GRANT SELECT ON FUTURE VIEWS IN SCHEMA ${schema} TO ROLE ${role}
