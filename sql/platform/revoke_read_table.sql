-- Makes: no grant to read a table that lacks a personal column, until a run has added it and it is masked.
REVOKE SELECT ON TABLE ${table} FROM ROLE ${role}
