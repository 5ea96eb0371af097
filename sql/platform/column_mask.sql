-- Makes: a column of personal data masked. FORCE replaces another policy in one step, never leaving it bare.
ALTER TABLE ${table} MODIFY COLUMN ${column} SET MASKING POLICY ${policy} FORCE
