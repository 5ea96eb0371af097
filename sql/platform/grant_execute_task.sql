-- Makes: a grant to the owning role, to run its tasks. Only ACCOUNTADMIN may give it.
GRANT EXECUTE TASK ON ACCOUNT TO ROLE ${role}
