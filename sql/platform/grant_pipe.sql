-- Makes: the pipelines able to hand files to the pipe and to read its report.
GRANT OPERATE, MONITOR ON PIPE ${pipe} TO ROLE ${role}
