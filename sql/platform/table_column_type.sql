-- Makes: a column as wide as in its contract. A wider column is left alone, as all values fit.
ALTER TABLE ${table} ALTER COLUMN ${column} SET DATA TYPE ${type}
