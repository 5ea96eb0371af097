"""S3 to Snowflake pipelines as Dagster assets; README.md describes the packages."""
