-- Makes: the format of staged files. Without logical types a timestamp would load as a number.
-- Text is loaded as it is, as by the COPY of the pipelines: not trimmed, and no text is read as NULL.
CREATE FILE FORMAT IF NOT EXISTS ${file_format}
    TYPE = PARQUET
    USE_LOGICAL_TYPE = TRUE
    TRIM_SPACE = FALSE
    NULL_IF = (${null_texts})
    COMMENT = 'Staged batches.'
