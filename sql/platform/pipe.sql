-- Makes: a pipe that loads the staged files that the pipelines send to it, each row with its file name.
-- A file with a bad row is skipped whole: staged rows are valid already, so a partly loaded file would be a fault.
CREATE PIPE IF NOT EXISTS ${pipe}
AUTO_INGEST = FALSE
COMMENT = 'Told by the pipelines which files to load.'
AS
COPY INTO ${table}
FROM @${stage}
FILE_FORMAT = (FORMAT_NAME = ${file_format_name})
MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE
INCLUDE_METADATA = (_FILE = METADATA$FILENAME)
ON_ERROR = SKIP_FILE
