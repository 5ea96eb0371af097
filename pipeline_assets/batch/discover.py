"""What a batch takes: objects that the ledger does not know, and quarantined records to read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from pipeline_assets.batch.context import BatchContext
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.lake import KnownObjects, LandedObject
from pipeline_assets.warehouse import ledger
from pipeline_assets.warehouse.quarantine import WaitingRecord, rejected_objects, waiting_records

_LISTED_AT_MOST = 1000  # objects of a bucket, to say what lies there beside an empty zone


@dataclass(frozen=True)
class Discovery:
    """The objects of one run by source, and the state of the warehouse that the batch is planned on."""

    new: dict[str, list[LandedObject]]
    known: int
    waiting: dict[str, list[WaitingRecord]]
    planned_on: int
    published_rows: dict[str, int]
    unmatched: tuple[str, ...] = field(default=())
    unmatched_count: int = 0

    def without(self, changed: set[str]) -> Discovery:
        kept = {name: [o for o in objects if o.uri not in changed] for name, objects in self.new.items()}
        return replace(self, new=kept)

    @property
    def objects(self) -> list[LandedObject]:
        return [landed for objects in self.new.values() for landed in objects]

    def __bool__(self) -> bool:
        return bool(self.objects) or any(self.waiting.values())


def discover(context: BatchContext) -> Discovery:
    """Ask the ledger and list the zones; what lies there and is not known is new.

    The warehouse is let go of while the zones are listed, and asked again only for records that have to wait no longer.
    """
    platform, pipeline, request = context.platform, context.pipeline, context.request
    zones = {source.name: source.zone for source in pipeline.sources}
    with context.scratch("discovery") as folder, KnownObjects(folder) as known:
        with platform.warehouse.read_only() as transaction:
            planned_on = ledger.published_batches(transaction, pipeline.name)
            if not request.reprocess:
                known.add(ledger.fingerprints(transaction, pipeline.name))
            retaken = rejected_objects(transaction, pipeline.name, request.replay_ids) if request.replay else set()
            rows = {
                table: int(transaction.scalar(f"SELECT COUNT(*) FROM {table}"))
                for table in (target_table(contract).qualified for contract in pipeline.targets)
            }
        arrived = known.arrivals(platform.lake, zones, retaken)
    waiting = _waiting(context, arrived.new)
    return Discovery(arrived.new, arrived.known, waiting, planned_on, rows, arrived.unmatched, arrived.unmatched_count)


def _waiting(context: BatchContext, new: Mapping[str, Sequence[LandedObject]]) -> dict[str, list[WaitingRecord]]:
    """Quarantined records to read again: on a replay all, else those that miss a reference, with whatever is new."""
    pipeline, request = context.pipeline, context.request
    waiting: dict[str, list[WaitingRecord]] = {source.name: [] for source in pipeline.sources}
    wanted: dict[str, list[str] | None] = {}
    for source in pipeline.sources:
        codes = sorted({column.reference.reason_code for column in source.contract.columns if column.reference})
        if request.replay or (codes and any(new.values())):
            wanted[source.name] = None if request.replay else codes
    if wanted:
        with context.platform.warehouse.read_only() as transaction:
            for name, codes in wanted.items():
                read_anyway = {(o.uri, o.etag) for o in new[name]}
                records = waiting_records(transaction, pipeline.name, name, codes, request.replay_ids)
                waiting[name] = [record for record in records if (record.uri, record.etag) not in read_anyway]
    return waiting


def notes_on(context: BatchContext, found: Discovery) -> list[str]:
    """What people should hear who expected something to be loaded: empty zones, objects that match no pattern."""
    notes = []
    if found.unmatched_count:
        examples = ", ".join(found.unmatched)
        notes.append(f"{found.unmatched_count} objects match no pattern of a source, for example {examples}.")
    if not (found.objects or found.known or found.unmatched_count):
        for bucket in sorted({source.zone.bucket for source in context.pipeline.sources}):
            sources = [source for source in context.pipeline.sources if source.zone.bucket == bucket]
            zones = " and ".join(dict.fromkeys(f"{bucket}/{source.declared.pattern}" for source in sources))
            lying = list(islice(context.platform.lake.list(bucket), _LISTED_AT_MOST))
            elsewhere = f"; the bucket holds {len(lying)} other objects, such as {lying[0].key}" if lying else ""
            notes.append(f"Nothing has landed: {zones} is empty{elsewhere}.")
    return notes
