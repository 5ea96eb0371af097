-- Makes: the buckets that the integration may read, those of the pipelines only.
ALTER STORAGE INTEGRATION ${integration} SET
STORAGE_AWS_ROLE_ARN = ${role_arn}
ENABLED = TRUE
STORAGE_ALLOWED_LOCATIONS = (${locations})
