"""A pipeline in Dagster: assets with lineage, checks, job, sensor and schedule, and running them."""
