-- Makes: a column as wide as its contract says now. A column that is wider is left alone, as it takes everything.
ALTER TABLE ${table} ALTER COLUMN ${column} SET DATA TYPE ${type}
