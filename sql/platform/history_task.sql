-- Makes: a suspended task that starts when the stream of a history has rows; `history_task_body` says what it does.
CREATE TASK IF NOT EXISTS ${task}
    WAREHOUSE = ${warehouse}
    SCHEDULE = '5 MINUTES'
    ALLOW_OVERLAPPING_EXECUTION = FALSE
    COMMENT = 'Rebuilds a history for the keys whose observations have changed.'
WHEN SYSTEM$STREAM_HAS_DATA(${stream_name})
AS
    SELECT 1
