-- Makes: a grant to the pipelines, to send files to the pipe and to read its load report.
GRANT OPERATE, MONITOR ON PIPE ${pipe} TO ROLE ${role}
