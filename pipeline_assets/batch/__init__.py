"""One run of one pipeline: recover, extract, discover, process, stage, publish, promote, report.

`run` is the order of these phases, each other module has one or two of them. Nothing
here knows Dagster, or a pipeline by its name.
"""
