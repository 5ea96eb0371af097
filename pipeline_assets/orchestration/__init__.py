"""What follows from a pipeline in Dagster: assets with lineage, checks, job, sensor and schedule, and running them."""
