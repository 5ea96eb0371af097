-- Makes: a resumed task, which starts when its stream has rows.
ALTER TASK ${task} RESUME
