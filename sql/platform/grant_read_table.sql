-- Makes: a grant to read one table, whose personal columns are masked.
GRANT SELECT ON TABLE ${table} TO ROLE ${role}
