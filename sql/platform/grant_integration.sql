-- Makes: the owning role able to put stages on the integration.
GRANT USAGE ON INTEGRATION ${integration} TO ROLE ${role}
