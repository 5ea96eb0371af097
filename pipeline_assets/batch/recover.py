"""The first phase of a batch: finish or undo what a killed run left in the lake and on the local disk.

A killed run leaves files only in the pipeline's staging prefix and its scratch folder. The staged files of a published
batch are promoted, those of any other batch deleted. Anything there that is not named like a batch is left alone.
"""

from __future__ import annotations

import logging
import re
import shutil
import uuid
from dataclasses import replace

from pipeline_assets.batch.archives import clear_unpacked
from pipeline_assets.batch.arrive import batches_in_processing, clear_processing
from pipeline_assets.batch.context import BatchContext, scratch_of, staging_of
from pipeline_assets.batch.promote import promote
from pipeline_assets.warehouse import ledger

logger = logging.getLogger("pipeline_assets")
_BATCH_ID = re.compile(r"[0-9a-f]{12}")


def new_batch_id() -> str:
    """A random id of 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


def recover(context: BatchContext) -> dict[str, list[str]]:
    """Finish or undo every interrupted batch of the pipeline.

    Returns:
        The batches that were published, with the uris of the files promoted now: no run has reported them.
    """
    platform, pipeline = context.platform, context.pipeline
    shutil.rmtree(scratch_of(platform, pipeline), ignore_errors=True)
    prefix = staging_of(pipeline)
    folders = (o.key.removeprefix(prefix).partition("/") for o in platform.lake.list_objects(pipeline.bucket, prefix))
    names = {name for name, folder, _ in folders if folder} | batches_in_processing(context)
    interrupted = sorted(filter(_BATCH_ID.fullmatch, names))
    platform.lake.remove_empty_folders(pipeline.bucket, prefix)
    if not interrupted:
        return {}
    with platform.warehouse.read_only() as transaction:
        published = {batch_id: ledger.is_published(transaction, batch_id) for batch_id in interrupted}
    finished = {}
    for batch_id, was_published in published.items():
        logger.warning("Batch %s was interrupted; %s.", batch_id, "finishing it" if was_published else "undoing it")
        batch = replace(context, batch_id=batch_id, watermarks={})
        if was_published:
            finished[batch_id] = promote(batch)
        else:
            clear_processing(batch)
            clear_unpacked(batch)
            platform.lake.delete_prefix(pipeline.bucket, f"{prefix}{batch_id}/")
    return finished
