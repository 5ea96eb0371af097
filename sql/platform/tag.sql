-- Makes: the tag for the classification of columns, so that personal data can be found in the account.
CREATE TAG IF NOT EXISTS ${tag} COMMENT = 'Classification of a column by its data contract.'
