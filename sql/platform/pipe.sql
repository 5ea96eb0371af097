-- Makes: a pipe that loads the staged files it is told of, each row with the file that it comes from.
-- A file with a bad row is skipped whole: what was staged is valid already, so a part of it would be a fault.
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
