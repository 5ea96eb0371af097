"""After the commit: bring staged files to where readers look for them, then clear the batch's staging prefix.

Below that prefix lie, in the order in which readers may see their effect: `remove/<key>` (a file of a lake table that
goes away), `release/<key>` (its version without the rows that move to another file), `publish/<key>` (new files), and
`catalog/<table>` (the partitions to register when all that is done). Each step is safe to repeat.
"""

from __future__ import annotations

import json
from dataclasses import replace

from pipeline_assets.batch.context import BatchContext

REMOVE = "remove/"
RELEASE = "release/"
PUBLISH = "publish/"
CATALOG = "catalog/"


def promote(context: BatchContext) -> list[str]:
    """Promote a published batch and clear what it staged; returns the uris of the files that readers see now."""
    lake, bucket = context.platform.lake, context.pipeline.bucket
    promoted = []
    for kind in (REMOVE, RELEASE, PUBLISH):
        prefix = context.staging + kind
        for staged in sorted(lake.list(bucket, prefix), key=lambda landed: landed.key):
            target = staged.key.removeprefix(prefix)
            if kind == REMOVE:
                lake.delete([lake.uri(bucket, target), staged.uri])
            else:
                promoted.append(lake.move(bucket, staged.key, target))
    _register_partitions(context)
    for step in context.pipeline.value.steps:
        if step.phase == "promote":
            step.run(replace(context, is_published=True))
    lake.delete_prefix(bucket, context.staging)
    return promoted


def _register_partitions(context: BatchContext) -> None:
    """The note of the partitions goes away with the prefix, last, so that a killed run is made up for."""
    platform, pipeline = context.platform, context.pipeline
    tables = {table.contract.name: table for table in pipeline.lake_tables}
    for note in list(platform.lake.list(pipeline.bucket, context.staging + CATALOG)):
        with context.scratch(f"{context.batch_id}-catalog") as folder:
            partitions = json.loads(platform.lake.fetch(note, folder).read_text(encoding="utf-8"))
        if table := tables.get(note.key.rpartition("/")[2]):
            platform.catalog.register(table, partitions)
