-- Makes: the external stage on the bucket in which a pipeline stages its batches.
CREATE STAGE IF NOT EXISTS ${stage}
    URL = ${url}
    STORAGE_INTEGRATION = ${integration}
    COMMENT = 'Batches on their way into the tables.'
