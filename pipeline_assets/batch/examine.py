"""Objects that a source examines before they are read: accepted, rejected, or left for a later run."""

from __future__ import annotations

from dataclasses import replace

from pipeline_assets.batch.context import BatchContext
from pipeline_assets.batch.discover import Discovery
from pipeline_assets.engine import BadRecord, FileOutcome
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.lake import LandedObject


def examine(context: BatchContext, discovery: Discovery) -> Discovery:
    """The same after each source with `examine` has examined its new objects; see `pipeline.Examined`."""
    for source in context.pipeline.landed_sources:
        objects = discovery.new[source.name]
        if not (source.declared.examine and objects):
            continue
        examined = source.declared.examine(context, objects)
        rejected = [FileOutcome(landed, rejection=_rejection(landed, error)) for landed, error in examined.rejected]
        new = sorted([*examined.accepted, *(o.landed for o in rejected)], key=lambda landed: landed.version)
        discovery = replace(
            discovery,
            new={**discovery.new, source.name: new},
            unread={**discovery.unread, source.name: [*discovery.unread.get(source.name, ()), *rejected]},
            waiting=discovery.waiting + len(objects) - len(new),
        )
    return discovery


def _rejection(landed: LandedObject, error: Exception) -> BadRecord:
    """The rejection of a whole object; any other error than that of an object fails the batch."""
    if not isinstance(error, RejectedObjectError):
        raise error
    return BadRecord(landed, None, error.code, str(error))
