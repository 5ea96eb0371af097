-- Makes: the format of staged files. Without logical types a timestamp would load as a number.
CREATE FILE FORMAT IF NOT EXISTS ${file_format} TYPE = PARQUET USE_LOGICAL_TYPE = TRUE COMMENT = 'Staged batches.'
