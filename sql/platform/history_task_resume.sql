-- Makes: a task that starts.
ALTER TASK ${task} RESUME
