-- Makes: the warehouse usable for the pipelines. Analysts bring their own, so that they cannot use up its credits.
GRANT USAGE ON WAREHOUSE ${warehouse} TO ROLE ${role}
