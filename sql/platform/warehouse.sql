-- Makes: the virtual warehouse of the pipelines, suspended until the first statement.
-- Of the second generation, which new accounts find_records_leniently by themselves, a second costs more; docs/deploy.md has the first.
CREATE WAREHOUSE IF NOT EXISTS ${warehouse}
WAREHOUSE_SIZE = XSMALL
GENERATION = '1'
AUTO_SUSPEND = 60
AUTO_RESUME = TRUE
INITIALLY_SUSPENDED = TRUE
COMMENT = 'Loads and merges of the pipelines.'
