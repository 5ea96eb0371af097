-- Makes: the current body of the policy, which stays on its columns, so that they are never unmasked.
ALTER MASKING POLICY ${policy} SET BODY ->
CASE WHEN VAL IS NULL OR CURRENT_ROLE() = ${role_name} THEN VAL ELSE ${masked} END
