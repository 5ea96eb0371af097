-- Makes: the buckets that the integration may reach what the pipelines need, and no more.
ALTER STORAGE INTEGRATION ${integration} SET
STORAGE_AWS_ROLE_ARN = ${role_arn}
ENABLED = TRUE
STORAGE_ALLOWED_LOCATIONS = (${locations})
