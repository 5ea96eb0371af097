-- Makes: the external stage on a bucket that a pipeline stages its batches in.
CREATE STAGE IF NOT EXISTS ${stage}
    URL = ${url}
    STORAGE_INTEGRATION = ${integration}
    COMMENT = 'Batches on their way into the tables.'
