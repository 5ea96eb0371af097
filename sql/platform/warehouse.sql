-- Makes: the virtual warehouse of the pipelines, suspended until the first statement.
CREATE WAREHOUSE IF NOT EXISTS ${warehouse}
WAREHOUSE_SIZE = XSMALL
AUTO_SUSPEND = 60
AUTO_RESUME = TRUE
INITIALLY_SUSPENDED = TRUE
COMMENT = 'Loads and merges of the pipelines.'
