-- Makes: the stage point at the bucket that the settings name.
ALTER STAGE ${stage} SET URL = ${url} STORAGE_INTEGRATION = ${integration}
