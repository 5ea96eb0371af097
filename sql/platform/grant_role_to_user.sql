-- Makes: the service user able to act as the pipelines' role.
GRANT ROLE ${role} TO USER ${user}
