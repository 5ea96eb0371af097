-- Makes: a column that was added to a contract. A column that was removed from one is left alone and keeps its data.
ALTER TABLE ${table} ADD COLUMN IF NOT EXISTS ${column} ${type}
