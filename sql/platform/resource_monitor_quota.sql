-- Makes: the credit quota of the settings.
ALTER RESOURCE MONITOR ${monitor} SET CREDIT_QUOTA = ${credits}
