-- Makes: a grant to use the database.
GRANT USAGE ON DATABASE ${database} TO ROLE ${role}
