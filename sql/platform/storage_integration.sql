-- Makes: Snowflake able to assume the role that infra/ makes for it. Only ACCOUNTADMIN can make one.
-- It is never replaced: a new one has another external id, which that role's trust policy does not know.
CREATE STORAGE INTEGRATION IF NOT EXISTS ${integration}
TYPE = EXTERNAL_STAGE
STORAGE_PROVIDER = 'S3'
ENABLED = TRUE
STORAGE_AWS_ROLE_ARN = ${role_arn}
STORAGE_ALLOWED_LOCATIONS = (${locations})
