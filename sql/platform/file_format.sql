-- Makes: the format of staged files. Without logical types a timestamp would load as a number.
-- Text arrives as it is: untrimmed, and never NULL (no text stands for it), as by the COPY of the pipelines.
CREATE FILE FORMAT IF NOT EXISTS ${file_format}
    TYPE = PARQUET
    USE_LOGICAL_TYPE = TRUE
    TRIM_SPACE = FALSE
    NULL_IF = (${null_texts})
    COMMENT = 'Staged batches.'
