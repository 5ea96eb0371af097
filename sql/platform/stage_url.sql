-- Makes: the URL of the stage, on the bucket that the settings name.
ALTER STAGE ${stage} SET URL = ${url} STORAGE_INTEGRATION = ${integration}
