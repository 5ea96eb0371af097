-- Makes: the database visible to a role.
GRANT USAGE ON DATABASE ${database} TO ROLE ${role}
