-- Makes: an integration by which Snowflake assumes the role of infra/. Only ACCOUNTADMIN can create one.
-- It is never replaced: a new one has another external id, which that role's trust policy does not have.
CREATE STORAGE INTEGRATION IF NOT EXISTS ${integration}
TYPE = EXTERNAL_STAGE
STORAGE_PROVIDER = 'S3'
ENABLED = TRUE
STORAGE_AWS_ROLE_ARN = ${role_arn}
STORAGE_ALLOWED_LOCATIONS = (${locations})
