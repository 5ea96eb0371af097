-- Makes: a grant to the owning role, to create stages on the integration.
GRANT USAGE ON INTEGRATION ${integration} TO ROLE ${role}
