-- Makes: a policy that shows personal data to the pipelines only; needs Snowflake's Enterprise edition.
-- A policy has the exact type of its columns: NUMBER alone is NUMBER(38,0) and would round what it lets through.
CREATE MASKING POLICY IF NOT EXISTS ${policy} AS(VAL ${type}) RETURNS ${type} ->
CASE WHEN VAL IS NULL OR IS_ROLE_IN_SESSION(${role_name}) THEN VAL ELSE ${masked} END
