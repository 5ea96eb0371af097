"""The zones of moved sources: `landing/` -> `processing/<batch>/` -> `processed/<batch>/` or `rejected/<batch>/`.

A batch reads copies of what landed. Landing is emptied after the commit, so an object is always in landing or its rows
are committed. An object whose bytes the ledger has under the same uri is a second delivery: it leaves landing at once,
and nothing of it is loaded. Each step is safe to repeat.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline_assets.batch.context import BatchContext
from pipeline_assets.batch.discover import Discovery, StoredCopy
from pipeline_assets.engine import FileOutcome
from pipeline_assets.errors import EngineError, LakeError, ObjectChangedError
from pipeline_assets.lake import Lake, LandedObject
from pipeline_assets.pipeline.resolved import PROCESSED, PROCESSING, REJECTED, ResolvedPipeline, Source
from pipeline_assets.progress import progress
from pipeline_assets.warehouse import ledger

logger = logging.getLogger("pipeline_assets")
_AT_ONCE = 8  # objects
_REASON = ".reason.json"
_LONGEST_NAME = 255  # bytes, in a file system
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Move:
    """An object of a published batch on its way to its zone; all are keys of `bucket`.

    `landed` is the identity of the object in landing that is deleted at the end, None if it left landing before.
    `reason` is written beside a rejected object.
    """

    bucket: str
    source: str
    target: str
    landed: tuple[str, str, int] | None = None
    reason: str | None = None


def arrive(context: BatchContext, discovery: Discovery, folder: Path) -> tuple[Discovery, set[str]]:
    """Copy the new objects of moved sources to `processing/<batch>/`; `folder` is for local copies of them.

    Returns:
        The discovery with the copies and without second deliveries, and the uris of objects that changed meanwhile.
    """
    changed: set[str] = set()
    for source in moved_sources(context.pipeline):
        landed = [o for o in discovery.new[source.name] if o.identity not in discovery.copies]
        copies = _copied(context, source, landed, folder)
        changed |= {o.uri for o in landed} - {o.uri for o in copies}
        delivered_again = _delivered_again(context, source, copies)
        finish_moves(context, delivered_again.values(), folder)
        taken = {o: copy for o, copy in copies.items() if o not in delivered_again}
        stored = [o for o in discovery.new[source.name] if o.identity in discovery.copies]
        for stored_object, copy in (discovery.covered[o.uri] for o in delivered_again if o.uri in discovery.covered):
            place = context.platform.lake.head(copy.place.uri)  # the second delivery has replaced it
            taken[stored_object] = replace(copy, place=place or copy.place)
        discovery = replace(
            discovery,
            new={**discovery.new, source.name: sorted([*stored, *taken], key=lambda landed: landed.version)},
            known=discovery.known + len(delivered_again),
            copies=discovery.copies | {o.identity: copy for o, copy in taken.items()},
        )
    return discovery, changed


def moved_sources(pipeline: ResolvedPipeline) -> list[Source]:
    """The sources whose objects leave landing."""
    return [source for source in pipeline.sources if source.declared.moved]


def _copied(
    context: BatchContext, source: Source, objects: Sequence[LandedObject], folder: Path
) -> dict[LandedObject, StoredCopy]:
    """Copy objects, several at a time; one that was overwritten since it was listed is left out."""
    lake, prefix = context.platform.lake, source.zone_prefix(PROCESSING, context.batch_id)

    def copy(numbered: tuple[int, LandedObject]) -> StoredCopy | None:
        number, landed = numbered
        try:
            path = _exact_copy(lake, landed, folder, f"{source.name}-{number}")
        except ObjectChangedError as error:
            logger.warning("%s", error)
            return None
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        uri = lake.publish(path, source.zone.bucket, prefix + landed.key.removeprefix(source.zone.prefix))
        place = lake.head(uri)
        if place is None or place.size != landed.size:
            raise LakeError(f"{uri} is not the copy of {landed.uri} that was written.", remedy="Run again.")
        return StoredCopy(place, digest, path=path if path.exists() else None)

    size = sum(landed.size for landed in objects)
    with progress(f"Copying {source.name}", "bytes", size) as step, ThreadPoolExecutor(_AT_ONCE) as pool:
        copies = []
        for landed, stored in zip(objects, pool.map(copy, enumerate(objects)), strict=True):
            copies.append(stored)
            step.advance(landed.size)
    return {landed: copy for landed, copy in zip(objects, copies, strict=True) if copy}


def _exact_copy(lake: Lake, landed: LandedObject, folder: Path, name: str) -> Path:
    """A file in `folder` with exactly the listed version's bytes."""
    path = lake.fetch(landed, folder)
    if path.parent == folder:
        return path
    own = folder / name
    with lake.errors(f"reading {landed.uri}", landed.bucket, "s3:GetObject"):
        try:
            shutil.copyfile(path, own)
        except FileNotFoundError:
            raise ObjectChangedError(landed.uri) from None
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise EngineError(
                f"The disk is full: {landed.uri} cannot be copied to {folder}.",
                remedy="Free disk space and run again.",
            ) from None
    if lake.changed([landed]):  # while it was copied
        raise ObjectChangedError(landed.uri)
    return own


def _delivered_again(
    context: BatchContext, source: Source, copies: Mapping[LandedObject, StoredCopy]
) -> dict[LandedObject, Move]:
    """The objects whose bytes the ledger has under the same uri, with the move to where these bytes are."""
    if not copies:
        return {}
    with context.platform.warehouse.read_only() as transaction:
        uris = sorted(landed.uri for landed in copies)
        taken = ledger.stored_objects(transaction, context.pipeline.name, source.name, uris)
    known = {(stored.landed.uri, stored.sha256): stored.current_uri for stored in taken}
    return {
        landed: Move(source.zone.bucket, copy.place.key, current.split("/", 3)[3], landed.identity)
        for landed, copy in copies.items()
        if (current := known.get((landed.uri, copy.sha256)))
    }


def planned_moves(
    context: BatchContext, discovery: Discovery, outcomes: Mapping[str, Sequence[FileOutcome]]
) -> dict[tuple[str, str, int], Move]:
    """Where each object of a moved source goes when this batch is published, by the identity of what landed."""
    moves = {}
    for source in moved_sources(context.pipeline):
        for outcome in outcomes[source.name]:
            landed = outcome.landed
            copy = discovery.copies.get(landed.identity)
            if outcome.waiting or copy is None:
                continue
            status = "rejected" if outcome.rejection else "loaded"
            target = copy.place.key
            if copy.status != status:
                zone = REJECTED if outcome.rejection else PROCESSED
                rest = landed.key.removeprefix(source.zone.prefix)
                target = source.zone_prefix(zone, context.batch_id) + rest
            reason = None
            if outcome.rejection:
                reason = json.dumps(
                    {"object": landed.uri, "code": outcome.rejection.code, "reason": outcome.rejection.reason}
                )
            from_landing = None if copy.status else landed.identity
            moves[landed.identity] = Move(source.zone.bucket, copy.place.key, target, from_landing, reason)
    return moves


def write_moves(moves: Iterable[Move], path: Path) -> None:
    """Write moves as JSON, to be staged with the batch."""
    path.write_text(json.dumps([asdict(move) for move in moves]), encoding="utf-8")


def read_moves(path: Path) -> list[Move]:
    """The moves in a file of `write_moves`."""
    return [
        Move(**{**move, "landed": tuple(move["landed"]) if move["landed"] else None})
        for move in json.loads(path.read_text(encoding="utf-8"))
    ]


def finish_moves(context: BatchContext, moves: Iterable[Move], folder: Path) -> None:
    """Move objects to their zones, then delete them in landing, unless other bytes are there now.

    An object in landing is deleted only when its copy is in place. Between the last comparison and the deletion a
    writer may still overwrite the key; delivery streams never write a key twice.

    Raises:
        LakeError: a copy is in neither zone.
    """
    lake, moves = context.platform.lake, list(moves)
    for bucket in sorted({move.bucket for move in moves}):
        lake.move_all(bucket, [(m.source, m.target) for m in moves if m.bucket == bucket and m.source != m.target])
    for move in moves:
        if move.reason:
            path = folder / "reason.json"
            path.write_text(move.reason + "\n", encoding="utf-8")
            lake.publish(path, move.bucket, _reason_key(move.target))
    accepted = [m for m in moves if not (m.landed or m.reason) and m.source != m.target]  # rejected before
    lake.delete([lake.uri(move.bucket, _reason_key(move.source)) for move in accepted])
    for bucket, prefix in sorted({(m.bucket, m.source.rpartition("/")[0] + "/") for m in moves if not m.landed}):
        lake.remove_empty_folders(bucket, prefix)
    landed = [LandedObject(*move.landed, _EPOCH) for move in moves if move.landed]
    changed = {each.identity for each in lake.changed(landed)}
    lake.delete([each.uri for each in landed if each.identity not in changed])
    for source in moved_sources(context.pipeline) if landed else ():
        lake.remove_empty_folders(source.zone.bucket, source.zone.prefix, keep=source.zone.prefix)


def _reason_key(key: str) -> str:
    """The key of the reason for a rejected object: its own with an ending, or a shorter one if a name gets too long."""
    folder, _, name = key.rpartition("/")
    if len(name.encode()) + len(_REASON) > _LONGEST_NAME:
        name = f"{name[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{folder}/{name}{_REASON}"


def clear_processing(context: BatchContext) -> None:
    """Delete what a batch left in `processing/`: copies of objects that it did not publish, which are in landing."""
    for source in moved_sources(context.pipeline):
        context.platform.lake.delete_prefix(source.zone.bucket, source.zone_prefix(PROCESSING, context.batch_id))


def batches_in_processing(context: BatchContext) -> set[str]:
    """The names of the folders in `processing/` of all moved sources."""
    names = set()
    for source in moved_sources(context.pipeline):
        prefix = source.zone_prefix(PROCESSING)
        for landed in context.platform.lake.list_objects(source.zone.bucket, prefix):
            names.add(landed.key.removeprefix(prefix).partition("/")[0])
    return names
