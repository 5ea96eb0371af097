-- Makes: a stream of the observations of a history that were added or removed, with those that exist already.
CREATE STREAM IF NOT EXISTS ${stream}
ON TABLE ${table}
SHOW_INITIAL_ROWS = TRUE
COMMENT = 'Observations that the task of the history has not read yet.'
