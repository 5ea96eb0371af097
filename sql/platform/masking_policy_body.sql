-- Makes: the policy mask as it should, without taking it off the columns that it protects meanwhile.
ALTER MASKING POLICY ${policy} SET BODY ->
CASE WHEN VAL IS NULL OR CURRENT_ROLE() = ${role_name} THEN VAL ELSE ${masked} END
