-- Makes: a grant to the loading role, to create the tables of a schema whose columns only a run knows.
GRANT CREATE TABLE ON SCHEMA ${schema} TO ROLE ${role}
