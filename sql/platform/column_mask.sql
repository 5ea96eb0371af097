-- Makes: a masked column of personal data. FORCE replaces another policy in one step, so it is never unmasked.
ALTER TABLE ${table} MODIFY COLUMN ${column} SET MASKING POLICY ${policy} FORCE
