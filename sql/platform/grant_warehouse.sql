-- Makes: a grant to the pipelines, to use the warehouse. Analysts use their own, so that they do not spend its credits.
GRANT USAGE ON WAREHOUSE ${warehouse} TO ROLE ${role}
