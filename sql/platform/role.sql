-- Makes: a role of the platform. Roles are never dropped: what they own would change hands.
CREATE ROLE IF NOT EXISTS ${role} COMMENT = ${comment}
