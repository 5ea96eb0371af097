-- Makes: a task that does not start, as Snowflake changes no other.
ALTER TASK ${task} SUSPEND
