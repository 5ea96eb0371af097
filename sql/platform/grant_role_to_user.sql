-- Makes: a grant of the pipelines' role to the service user.
GRANT ROLE ${role} TO USER ${user}
