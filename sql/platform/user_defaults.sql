-- Makes: the defaults of the service user. Snowpipe's REST API uses the default role, whatever the connection says.
ALTER USER ${user} SET
DEFAULT_ROLE = ${role}
DEFAULT_WAREHOUSE = ${warehouse}
DEFAULT_NAMESPACE = ${namespace}
