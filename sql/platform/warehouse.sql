-- Makes: the virtual warehouse of the pipelines, suspended until the first statement.
-- New accounts default to the second generation, which costs more per second; docs/deploy.md has the first's cost.
CREATE WAREHOUSE IF NOT EXISTS ${warehouse}
WAREHOUSE_SIZE = XSMALL
GENERATION = '1'
AUTO_SUSPEND = 60
AUTO_RESUME = TRUE
INITIALLY_SUSPENDED = TRUE
COMMENT = 'Loads and merges of the pipelines.'
