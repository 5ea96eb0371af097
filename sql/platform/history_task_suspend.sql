-- Makes: a suspended task; Snowflake modifies no other.
ALTER TASK ${task} SUSPEND
