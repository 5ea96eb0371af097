-- Makes: a column that a contract gained. A column that it lost keeps its data and is left alone.
ALTER TABLE ${table} ADD COLUMN IF NOT EXISTS ${column} ${type}
