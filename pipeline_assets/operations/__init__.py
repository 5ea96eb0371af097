"""What pipelines share about being operated.

`platform` brings lake, engine, warehouse and alerts together, `pipeline` is what a pipeline is to them, `landing` the
way of one batch from landed objects to published tables, `work` what its transform may do. `assets` and `checks` are
the helpers around Dagster's decorators, `automation` the sensors, schedules and hooks, `alerts` tells people,
`execution` runs a pipeline from the command line, `diagnosis` tries what it needs.
"""
