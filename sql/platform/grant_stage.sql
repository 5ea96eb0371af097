-- Makes: the stage readable for the pipelines.
GRANT USAGE ON STAGE ${stage} TO ROLE ${role}
