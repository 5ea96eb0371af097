-- Makes: a tag on a column, with the classification of its contract.
ALTER TABLE ${table} MODIFY COLUMN ${column} SET TAG ${tag} = ${value}
