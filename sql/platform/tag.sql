-- Makes: the tag that says which columns are personal data, for whoever searches the account for them.
CREATE TAG IF NOT EXISTS ${tag} COMMENT = 'Classification of a column by its data contract.'
