-- Makes: the quota what the settings say.
ALTER RESOURCE MONITOR ${monitor} SET CREDIT_QUOTA = ${credits}
