"""What pipelines share about being operated.

`platform` brings lake, engine, warehouse and alerts together, `landing` is the way of one batch from landed
objects to published tables, `assets` and `checks` are the helpers around Dagster's decorators, `automation` the
sensors, schedules and hooks, `alerts` tells people, `execution` runs a pipeline from the command line.
"""
