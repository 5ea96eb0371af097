-- Makes: a suspended task; Snowflake does not modify one that runs on a schedule.
ALTER TASK ${task} SUSPEND
