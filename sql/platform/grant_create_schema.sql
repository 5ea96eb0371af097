-- Makes: the owning role able to fill the database.
GRANT USAGE, CREATE SCHEMA ON DATABASE ${database} TO ROLE ${role}
