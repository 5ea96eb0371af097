-- Makes: a policy that shows personal data to the pipelines only; needs Snowflake's Enterprise edition.
-- Only the primary role counts: roles that inherit the pipelines' role, even ACCOUNTADMIN, see masks. Pipes only write.
-- A policy must have the exact type of its columns: NUMBER alone is NUMBER(38,0) and would round values.
CREATE MASKING POLICY IF NOT EXISTS ${policy} AS(VAL ${type}) RETURNS ${type} ->
CASE WHEN VAL IS NULL OR CURRENT_ROLE() = ${role_name} THEN VAL ELSE ${masked} END
