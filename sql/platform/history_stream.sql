-- Makes: a stream of the observations that a history is made from: those that exist, then those added or removed.
CREATE STREAM IF NOT EXISTS ${stream}
ON TABLE ${table}
SHOW_INITIAL_ROWS = TRUE
COMMENT = 'Observations that the task of the history has not read yet.'
