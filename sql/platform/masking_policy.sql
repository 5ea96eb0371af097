-- Makes: a policy that shows personal data to the pipelines only; needs Snowflake's Enterprise edition.
-- The primary role counts: whoever inherits the pipelines' role, up to ACCOUNTADMIN, sees masks. A pipe only writes.
-- A policy has the exact type of its columns: NUMBER alone is NUMBER(38,0) and would round what it lets through.
CREATE MASKING POLICY IF NOT EXISTS ${policy} AS(VAL ${type}) RETURNS ${type} ->
CASE WHEN VAL IS NULL OR CURRENT_ROLE() = ${role_name} THEN VAL ELSE ${masked} END
