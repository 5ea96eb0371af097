"""One run of one pipeline: recover, extract, discover, process, stage, publish, promote, report.

`run` has the order of these phases; each other module implements one or two of them. Nothing here imports Dagster or
names a single pipeline.
"""
