-- Makes: where the service user starts. Snowpipe's REST API takes the default role, whatever the connection says.
ALTER USER ${user} SET
DEFAULT_ROLE = ${role}
DEFAULT_WAREHOUSE = ${warehouse}
DEFAULT_NAMESPACE = ${namespace}
