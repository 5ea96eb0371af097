-- Makes: the limits that keep the warehouse cheap. Its size is left alone: somebody may have increased it for a reason.
-- Each resume is billed for at least a minute, so suspending sooner would save nothing.
ALTER WAREHOUSE ${warehouse} SET
AUTO_SUSPEND = 60
AUTO_RESUME = TRUE
STATEMENT_TIMEOUT_IN_SECONDS = 3600
