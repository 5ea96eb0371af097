-- Makes: a grant to the owning role, to create schemas in the database.
GRANT USAGE, CREATE SCHEMA ON DATABASE ${database} TO ROLE ${role}
