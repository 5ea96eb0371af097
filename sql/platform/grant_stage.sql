-- Makes: a grant to the pipelines, to read the stage.
GRANT USAGE ON STAGE ${stage} TO ROLE ${role}
