-- Makes: a role of the platform. Roles are never dropped, as their objects would get another owner.
CREATE ROLE IF NOT EXISTS ${role} COMMENT = ${comment}
