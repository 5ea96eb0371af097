-- Makes: what keeps the warehouse cheap. Its size is left alone: somebody may have made it larger for a reason.
-- It is billed for a minute at least whenever it resumes, so a shorter suspension would save nothing.
ALTER WAREHOUSE ${warehouse} SET
AUTO_SUSPEND = 60
AUTO_RESUME = TRUE
STATEMENT_TIMEOUT_IN_SECONDS = 3600
