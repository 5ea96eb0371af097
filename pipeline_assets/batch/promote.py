"""After the commit: move staged files to their final keys, then clear the batch's staging prefix.

Staged files lie in five folders, which are promoted in this order: `remove/<key>` (a lake file to delete),
`release/<key>` (a lake file without the rows that move to another file), `publish/<key>` (new files), `catalog/<table>`
(the partitions to register) and `move/` (the objects that leave landing). Each step is safe to repeat.
"""

from __future__ import annotations

import json
from dataclasses import replace

from pipeline_assets.batch.arrive import clear_processing, finish_moves, read_moves
from pipeline_assets.batch.context import CATALOG, MOVE, PUBLISH, RELEASE, REMOVE, BatchContext
from pipeline_assets.batch.lake_copies import copy_tables_to_lake


def promote(context: BatchContext) -> list[str]:
    """Promote a published batch and clear its staging prefix; returns the uris of the promoted files."""
    lake, bucket = context.platform.lake, context.pipeline.bucket
    promoted = []
    for kind in (REMOVE, RELEASE, PUBLISH):
        prefix = context.staging + kind
        for staged in sorted(lake.list_objects(bucket, prefix), key=lambda landed: landed.key):
            target = staged.key.removeprefix(prefix)
            if kind == REMOVE:
                lake.delete([lake.uri(bucket, target), staged.uri])
            else:
                promoted.append(lake.move(bucket, staged.key, target))
    promoted += copy_tables_to_lake(context)
    _register_partitions(context)
    _empty_landing(context)
    for step in context.pipeline.value.steps:
        if step.phase == "promote":
            step.run(replace(context, is_published=True))
    lake.delete_prefix(bucket, context.staging)
    return promoted


def _empty_landing(context: BatchContext) -> None:
    """Move the objects of moved sources from `processing/` to their zones, and delete them in landing."""
    lake = context.platform.lake
    for staged in list(lake.list_objects(context.pipeline.bucket, context.staging + MOVE)):
        with context.scratch(f"{context.batch_id}-moves") as folder:
            finish_moves(context, read_moves(lake.fetch(staged, folder)), folder)
    clear_processing(context)


def _register_partitions(context: BatchContext) -> None:
    """Register the staged partitions; their file stays until all is done, so the next run completes a killed one."""
    platform, pipeline = context.platform, context.pipeline
    tables = {table.contract.name: table for table in pipeline.lake_tables}
    for staged in list(platform.lake.list_objects(pipeline.bucket, context.staging + CATALOG)):
        with context.scratch(f"{context.batch_id}-catalog") as folder:
            partitions = json.loads(platform.lake.fetch(staged, folder).read_text(encoding="utf-8"))
        if table := tables.get(staged.key.rpartition("/")[2]):
            platform.catalog.register(table, partitions)
