"""Software-defined S3 to Snowflake pipelines; each folder is one room, see README.md for the plan."""
