"""What a batch processes: objects that are not in the ledger, and quarantined records to read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline_assets.batch.context import BatchContext
from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import Days, Request
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.engine import FileOutcome, SourceFile
from pipeline_assets.lake import KnownObjects, LandedObject, Zone
from pipeline_assets.lake.delivery_time import delivery_time
from pipeline_assets.lake.foreign import gone, rejection
from pipeline_assets.lake.new_objects import Arrivals
from pipeline_assets.pipeline.resolved import ResolvedPipeline, Source
from pipeline_assets.warehouse import ledger
from pipeline_assets.warehouse.quarantine import (
    WaitingRecord,
    close_gone_objects,
    rejected_objects,
    waiting_records,
)

_MAX_LISTED = 1000  # objects of a bucket, to report what else it holds when a zone is empty


@dataclass(frozen=True)
class StoredCopy:
    """The bytes of an object that is not read in landing: the object `place`, and a local copy if there is one.

    `status` is that in the ledger if the object was processed before, empty if it comes from landing.
    """

    place: LandedObject
    sha256: str
    status: str = ""
    path: Path | None = None


@dataclass(frozen=True)
class Discovery:
    """The new objects and quarantined records of one run by source, and the warehouse's state when it was planned.

    `foreign` are new objects that cannot be read; the listing gave the reasons. `withheld` are quarantined records of
    objects of which a newer version is new: it replaces them, unless it is rejected. `with_quarantined_records` adds
    `quarantined` and `withheld`. `copies` are the objects of moved sources by identity; `arrive` adds those that come
    from landing. `covered` are objects to process again, by uri, for which landing has an object with the same key:
    `arrive` compares the bytes. `removed` are the uris of processed objects that the run would process again, but that
    somebody removed. `open_archives` adds by source the `unpacked` files to read and the outcomes of `unread` archives,
    of which nothing is read; by identity the SHA-256 of archives (`digests`); and `notes` for the report. `examine`
    adds the outcomes of rejected objects to `unread`, and takes those that wait (`waiting`, their number) out of `new`.
    """

    new: dict[str, list[LandedObject]]
    known: int
    foreign: dict[str, list[LandedObject]]
    planned_on: int
    published_rows: dict[str, int]
    unmatched: tuple[str, ...] = field(default=())
    unmatched_count: int = 0
    copies: dict[tuple[str, str, int], StoredCopy] = field(default_factory=dict)
    covered: dict[str, tuple[LandedObject, StoredCopy]] = field(default_factory=dict)
    quarantined: dict[str, list[WaitingRecord]] = field(default_factory=dict)
    withheld: dict[str, list[WaitingRecord]] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    unpacked: dict[str, list[SourceFile]] = field(default_factory=dict)
    unread: dict[str, list[FileOutcome]] = field(default_factory=dict)
    digests: dict[tuple[str, str, int], str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    waiting: int = 0

    def without(self, changed: set[str]) -> Discovery:
        """The same without the objects at some uris, in landing or where their copies are."""
        gone = {identity for identity, copy in self.copies.items() if copy.place.uri in changed}
        kept = {
            name: [o for o in objects if o.uri not in changed and o.identity not in gone]
            for name, objects in self.new.items()
        }
        unpacked = {name: [f for f in files if f.landed.uri not in changed] for name, files in self.unpacked.items()}
        unread = {name: [o for o in each if o.landed.uri not in changed] for name, each in self.unread.items()}
        return replace(self, new=kept, unpacked=unpacked, unread=unread)

    def with_records_of(self, rejected: set[str]) -> Discovery | None:
        """The same with the withheld records of rejected objects; None if there are none."""
        added = {name: [r for r in records if r.uri in rejected] for name, records in self.withheld.items()}
        if not any(added.values()):
            return None
        quarantined = {name: [*records, *added[name]] for name, records in self.quarantined.items()}
        withheld = {name: [r for r in records if r.uri not in rejected] for name, records in self.withheld.items()}
        return replace(self, quarantined=quarantined, withheld=withheld)

    @property
    def objects(self) -> list[LandedObject]:
        """The new objects that can be read, of every source."""
        return [landed for objects in self.new.values() for landed in objects]

    def __bool__(self) -> bool:
        return bool(self.objects) or any(self.foreign.values()) or any(self.quarantined.values())


def discover(context: BatchContext) -> Discovery:
    """List the zones; an object that is not in the ledger is new. See `with_quarantined_records` for the rest.

    The warehouse is not held open while the zones are listed. It is read again only for objects that left landing, and
    for the times of replaced versions. Quarantined foreign objects that are no longer listed are closed.
    """
    platform, pipeline, request = context.platform, context.pipeline, context.request
    zones = {source.name: source.zone for source in pipeline.landed_sources}
    with context.scratch("discovery") as folder, KnownObjects(folder) as known:
        with platform.warehouse.read_only() as transaction:
            planned_on = ledger.published_batches(transaction, pipeline.name)
            if not request.reprocess:
                known.add(ledger.fingerprints(transaction, pipeline.name, list(zones)))
            rejected = rejected_objects(transaction, pipeline.name, request.replay_ids) if request.replay else set()
            open_rejections = rejected_objects(transaction, pipeline.name, datasets=list(zones))
            row_counts = {
                table: int(transaction.scalar(f"SELECT COUNT(*) FROM {table}"))
                for table in (target_table(contract).qualified for contract in pipeline.targets)
            }
        arrived = known.arrivals(platform.lake, zones, rejected)
    if missing := gone(open_rejections, arrived.foreign):
        with platform.warehouse.transaction() as transaction:
            close_gone_objects(transaction, pipeline.name, missing, platform.clock())
    foreign = {name: [o for o in objects if rejection(o)] for name, objects in arrived.new.items()}
    readable = {name: [o for o in objects if not rejection(o)] for name, objects in arrived.new.items()}
    new = {s.name: _with_delivery_times(s, readable.get(s.name, ()), request.days) for s in pipeline.sources}
    copies: dict[tuple[str, str, int], StoredCopy] = {}
    covered: dict[str, tuple[LandedObject, StoredCopy]] = {}
    stored_objects, removed = _stored_objects(context, rejected)
    for name, stored in stored_objects.items():
        landing = {landed.uri for landed in new[name]}
        covered |= {landed.uri: (landed, copy) for landed, copy in stored.items() if landed.uri in landing}
        taken = {landed: copy for landed, copy in stored.items() if landed.uri not in landing}
        new[name] = sorted([*new[name], *taken], key=lambda landed: landed.version)
        copies |= {landed.identity: copy for landed, copy in taken.items()}
    if planned_on:
        new = _with_monotonic_times(context, new)
    return Discovery(
        new,
        arrived.known,
        foreign,
        planned_on,
        row_counts,
        arrived.unmatched,
        arrived.unmatched_count,
        copies,
        covered,
        removed=tuple(removed),
    )


def _with_delivery_times(source: Source, objects: Iterable[LandedObject], days: Days | None) -> list[LandedObject]:
    """Objects with the times in their keys, of some landing days only; unchanged if the source has no dated keys."""
    if not source.declared.dated_keys:
        return list(objects)
    prefix = source.zone.prefix
    dated = [replace(o, modified=delivery_time(o.key.removeprefix(prefix), o.modified)) for o in objects]
    return [o for o in dated if days is None or days[0] <= o.modified.date().isoformat() <= days[1]]


def _stored_objects(
    context: BatchContext, rejected: set[tuple[str, str]]
) -> tuple[dict[str, dict[LandedObject, StoredCopy]], list[str]]:
    """The objects of moved sources to process again: all, those of some days, or rejected ones.

    Returns:
        The objects by source, and the uris of those that somebody removed from their zone.
    """
    request = context.request
    stored: dict[str, dict[LandedObject, StoredCopy]] = {}
    removed: list[str] = []
    for source in context.pipeline.sources:
        if not source.declared.moved or not (request.reprocess or request.days or rejected):
            continue
        with context.platform.warehouse.read_only() as transaction:
            objects = ledger.stored_objects(transaction, context.pipeline.name, source.name)
        if not (request.reprocess or request.days):
            objects = [each for each in objects if (each.landed.uri, each.landed.etag) in rejected]
        prefix = source.zone_prefix("")
        places = {o.uri: o for o in context.platform.lake.list_objects(source.zone.bucket, prefix)} if objects else {}
        wanted = {o.identity for o in _with_delivery_times(source, (each.landed for each in objects), request.days)}
        objects = [each for each in objects if each.landed.identity in wanted]
        stored[source.name] = {
            each.landed: StoredCopy(places[each.current_uri], each.sha256, each.status)
            for each in objects
            if each.current_uri in places
        }
        removed += [each.current_uri for each in objects if each.current_uri not in places]
    return stored, removed


def _with_monotonic_times(
    context: BatchContext, new: Mapping[str, list[LandedObject]]
) -> dict[str, list[LandedObject]]:
    """Give each object at least the modification time of the version that it replaces; `cp -p` keeps an older one."""
    uris = sorted({landed.uri for objects in new.values() for landed in objects})
    if not uris:
        return dict(new)
    with context.platform.warehouse.read_only() as transaction:
        known = ledger.last_modified(transaction, context.pipeline.name, uris)
    return {
        name: sorted(
            (replace(o, modified=max(o.modified, known.get((name, o.uri), o.modified))) for o in objects),
            key=lambda landed: landed.version,
        )
        for name, objects in new.items()
    }


def has_new_objects(platform: Platform, pipeline: ResolvedPipeline) -> bool:
    """Whether an object in the zones of a pipeline is not in the ledger.

    Raises:
        PipelineError: the warehouse or the lake cannot be read, or the ledger does not exist yet.
    """
    zones = {source.name: source.zone for source in pipeline.landed_sources}
    return any(arrivals(platform, pipeline.name, zones).new.values())


def arrivals(platform: Platform, pipeline: str, zones: Mapping[str, Zone], request: Request | None = None) -> Arrivals:
    """The objects in some zones that a run would process, by dataset, and how many it knows.

    Raises:
        PipelineError: as `has_new_objects`.
    """
    request = request or Request()
    with TemporaryDirectory(prefix="discovery-") as folder, KnownObjects(Path(folder)) as known:
        with platform.warehouse.read_only() as transaction:
            if not request.reprocess:
                known.add(ledger.fingerprints(transaction, pipeline, list(zones)))
            rejected = rejected_objects(transaction, pipeline, request.replay_ids) if request.replay else set()
        return known.arrivals(platform.lake, zones, rejected)


def with_quarantined_records(context: BatchContext, discovery: Discovery) -> Discovery:
    """The same with the quarantined records to read again, and those that another version of their object withholds.

    On a replay these are all records, else those without their reference if any object is new. To be called after
    `arrive`: an object that was only delivered again decides about no record.
    """
    pipeline, request, new = context.pipeline, context.request, discovery.new
    quarantined: dict[str, list[WaitingRecord]] = {source.name: [] for source in pipeline.sources}
    withheld: dict[str, list[WaitingRecord]] = {source.name: [] for source in pipeline.sources}
    codes_by_source: dict[str, list[str] | None] = {}
    files_of = {s.name: s.list_column.of if s.list_column else s.name for s in pipeline.sources}
    for source in pipeline.sources:
        codes = sorted({column.reference.reason_code for column in source.contract.columns if column.reference})
        if request.replay or (codes and any(new.values())):
            codes_by_source[source.name] = None if request.replay else codes
    if codes_by_source:
        with context.platform.warehouse.read_only() as transaction:
            for name, replayed_codes in codes_by_source.items():
                etags = {landed.uri: landed.etag for landed in new[files_of[name]]}
                for record in waiting_records(transaction, pipeline.name, name, replayed_codes, request.replay_ids):
                    if record.uri not in etags:
                        quarantined[name].append(record)
                    elif record.etag != etags[record.uri]:
                        withheld[name].append(record)
    return replace(discovery, quarantined=quarantined, withheld=withheld)


def discovery_notes(context: BatchContext, discovery: Discovery) -> list[str]:
    """Notes on why less was loaded than expected: empty zones, objects that match no pattern."""
    notes = [*discovery.notes]
    if discovery.unmatched_count:
        examples = ", ".join(discovery.unmatched)
        notes.append(f"{discovery.unmatched_count} objects match no pattern of a source, for example {examples}.")
    if discovery.removed:
        notes.append(
            f"{len(discovery.removed)} processed objects are no longer in their zone and are not processed again, for "
            f"example {discovery.removed[0]}."
        )
    moved = any(source.declared.moved for source in context.pipeline.sources)
    extracts = any(step.phase == "extract" for step in context.pipeline.value.steps)
    found = discovery or discovery.known or discovery.unmatched_count or discovery.waiting
    if not (found or (moved and discovery.planned_on)):
        for bucket in sorted({source.zone.bucket for source in context.pipeline.sources}):
            sources = [source for source in context.pipeline.landed_sources if source.zone.bucket == bucket]
            zones = " and ".join(dict.fromkeys(f"{bucket}/{source.declared.pattern}" for source in sources))
            others = list(islice(context.platform.lake.list_objects(bucket), _MAX_LISTED))
            elsewhere = f"; the bucket holds {len(others)} other objects, such as {others[0].key}" if others else ""
            extract = "; --extract pulls from its source first" if extracts and not context.request.extract else ""
            notes.append(f"Nothing has landed: {zones} is empty{elsewhere}{extract}.")
    return notes
