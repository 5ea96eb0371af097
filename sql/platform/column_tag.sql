-- Makes: a column known as what its contract calls it.
ALTER TABLE ${table} MODIFY COLUMN ${column} SET TAG ${tag} = ${value}
