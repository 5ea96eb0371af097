"""Landed archives: open each, store its members in the processed zone, and choose the files that the engine reads.

The SHA-256 of an archive identifies it: the same bytes under another key load nothing. What the engine reads keeps the
identity of the archive; the time that its contents state, or the archive's own, orders versions. A refused archive is
rejected as a whole, like a file.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from pipeline_assets.batch.context import BatchContext
from pipeline_assets.batch.discover import Discovery
from pipeline_assets.batch.list_columns import write_list_records
from pipeline_assets.engine import BadRecord, FileOutcome, SourceFile
from pipeline_assets.errors import EngineError, LakeError, ObjectChangedError, RejectedObjectError
from pipeline_assets.lake import LandedObject
from pipeline_assets.lake.archives import Member, unpack
from pipeline_assets.lake.store import copy_into_lake
from pipeline_assets.pipeline.resolved import ResolvedPipeline, Source
from pipeline_assets.pipeline.value import Archive, ArchiveContents
from pipeline_assets.warehouse import ledger

_STARTED = "unpack/started"
_CLOCK_TOLERANCE = timedelta(days=1)


def open_archives(context: BatchContext, discovery: Discovery, folder: Path) -> tuple[Discovery, set[str]]:
    """Open the new archives of a batch; `folder` is for their members.

    Returns:
        The discovery with the files to read and the outcomes of archives of which nothing is read, and the uris of
        objects that changed meanwhile.

    Raises:
        EngineError: the disk is full.
        LakeError: a member cannot be stored.
    """
    changed: set[str] = set()
    for source in archive_sources(context.pipeline):
        if not discovery.new[source.name]:
            continue
        _mark_as_started(context, folder)
        opened = _OpenedArchives(context, source, folder / source.name)
        opened.open(discovery.new[source.name])
        changed |= opened.changed
        discovery = replace(
            discovery,
            new={**discovery.new, source.name: sorted(opened.objects, key=lambda landed: landed.version)},
            unpacked=discovery.unpacked | opened.files,
            unread=discovery.unread | {source.name: opened.unread},
            digests=discovery.digests | opened.digests,
            notes=(*discovery.notes, *opened.notes),
        )
    return discovery, changed


def archive_sources(pipeline: ResolvedPipeline) -> list[Source]:
    """The sources whose objects are archives."""
    return [source for source in pipeline.landed_sources if source.declared.archive]


def clear_unpacked(context: BatchContext) -> None:
    """Delete the members that a batch has stored and not published."""
    for source in archive_sources(context.pipeline):
        archive = _archive(source)
        context.platform.lake.delete_prefix(archive.bucket, f"{archive.prefix}{context.batch_id}/")


def _mark_as_started(context: BatchContext, folder: Path) -> None:
    """Write a file into the staging prefix before members are stored elsewhere, so that `recover` finds the batch."""
    path = folder / "started"
    path.touch()
    context.platform.lake.publish(path, context.pipeline.bucket, context.staging + _STARTED)


def _archive(source: Source) -> Archive:
    assert source.declared.archive is not None
    return source.declared.archive


class _OpenedArchives:
    """The archives of one source in one batch, without those that `changed` meanwhile (by uri).

    `objects` are the archives with the time that orders their versions, `files` what the engine reads, by source;
    `digests` and `unread` are those of `Discovery`.
    """

    def __init__(self, context: BatchContext, source: Source, folder: Path) -> None:
        self.objects: list[LandedObject] = []
        self.files: dict[str, list[SourceFile]] = defaultdict(list)
        self.unread: list[FileOutcome] = []
        self.digests: dict[tuple[str, str, int], str] = {}
        self.changed: set[str] = set()
        self.notes: list[str] = []
        self._context, self._source, self._folder = context, source, folder

    def open(self, objects: Sequence[LandedObject]) -> None:
        paths = {landed: path for landed in objects if (path := self._fetched(landed))}
        digests = {landed: _digest(path) for landed, path in paths.items()}
        self.digests = {landed.identity: digest for landed, digest in digests.items()}
        repeated = self._repeated(digests)
        times = self._times_of_replaced(list(paths))
        for number, (landed, path) in enumerate(paths.items()):
            if landed in repeated:
                self.objects.append(landed)
                self.unread.append(FileOutcome(landed))
                continue
            folder = self._folder / str(number)
            try:
                self._open(landed, path, folder, times)
            except RejectedObjectError as error:
                shutil.rmtree(folder, ignore_errors=True)
                self.objects.append(landed)
                bad = BadRecord(landed, None, error.code, str(error))
                self.unread.append(FileOutcome(landed, rejection=bad))

    def _fetched(self, landed: LandedObject) -> Path | None:
        try:
            return self._context.platform.lake.fetch(landed, self._folder.parent)
        except ObjectChangedError:
            self.changed.add(landed.uri)
            return None

    def _repeated(self, digests: Mapping[LandedObject, str]) -> set[LandedObject]:
        """Archives with the bytes of another one that is loaded already, or by this batch."""
        with self._context.platform.warehouse.read_only() as transaction:
            loaded = ledger.loaded_contents(
                transaction, self._context.pipeline.name, self._source.name, sorted(set(digests.values()))
            )
        equal: dict[str, list[LandedObject]] = defaultdict(list)
        for landed, digest in digests.items():
            equal[digest].append(landed)
        repeated: set[LandedObject] = set()
        for digest, archives in equal.items():
            loaded_from = loaded.get(digest, set())
            first = min(archives, key=lambda landed: (landed.uri not in loaded_from, landed.version))
            elsewhere = loaded_from - {landed.uri for landed in archives}
            read = set() if elsewhere and first.uri not in loaded_from else {first}
            repeated |= set(archives) - read
        return repeated

    def _times_of_replaced(self, objects: Sequence[LandedObject]) -> Mapping[tuple[str, str], datetime]:
        with self._context.platform.warehouse.read_only() as transaction:
            uris = sorted(landed.uri for landed in objects)
            return ledger.last_modified(transaction, self._context.pipeline.name, uris) if uris else {}

    def _open(self, landed: LandedObject, path: Path, folder: Path, times: Mapping[tuple[str, str], datetime]) -> None:
        context, archive = self._context, _archive(self._source)
        folder.mkdir(parents=True)
        try:
            members = unpack(path, folder, context.platform.archive_limits)
            contents = archive.contents(members)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise EngineError(
                f"The disk is full: {landed.uri} cannot be unpacked.", remedy="Free disk space and run again."
            ) from None
        now = context.platform.clock()
        if contents.created_at and contents.created_at.replace(tzinfo=None) > now + _CLOCK_TOLERANCE:
            raise RejectedObjectError(
                f"The archive states that it was created at {contents.created_at:%Y-%m-%d %H:%M:%S}, which is in the "
                "future: it would replace every later version.",
                code="manifest_mismatch",
                remedy="Correct created_at in its manifest and deliver it again.",
            )
        if self._context.platform.lake.changed([landed]):
            self.changed.add(landed.uri)
            return
        if contents.created_at:  # the bytes that are at a key now win over those that were there before
            replaced = times.get((self._source.name, landed.uri))
            landed = replace(landed, modified=max(contents.created_at, replaced or contents.created_at))
        self.objects.append(landed)
        stored = self._store(landed, members)
        self._add_files(landed, contents, stored, folder)

    def _store(self, landed: LandedObject, members: Sequence[Member]) -> dict[Path, LandedObject]:
        """Copy the members to the processed zone."""
        lake, archive = self._context.platform.lake, _archive(self._source)
        prefix = self._prefix(landed)
        stored = {}
        for member in members:
            uri = copy_into_lake(lake, member.path, archive.bucket, prefix + member.name, self._folder / "copies")
            stored[member.path] = self._head(uri)
        return stored

    def _prefix(self, landed: LandedObject) -> str:
        archive, digest = _archive(self._source), self.digests[landed.identity]
        name = PurePosixPath(landed.key).stem
        return f"{archive.prefix}{self._context.batch_id}/{name}-{digest[:8]}/"

    def _head(self, uri: str) -> LandedObject:
        stored = self._context.platform.lake.head(uri)
        if stored is None:
            raise LakeError(f"{uri} was written and does not exist.", remedy="Run again.")
        return stored

    def _add_files(
        self, landed: LandedObject, contents: ArchiveContents, stored: Mapping[Path, LandedObject], folder: Path
    ) -> None:
        """Add the files for the engine: one of the archive's records, and one for each list in them."""
        if not contents.files:
            self.unread.append(FileOutcome(landed))
            return
        path = contents.files[0]
        if len(contents.files) > 1:
            path = _joined(contents.files, folder / "records.csv")
        place = stored.get(path) or self._publish(landed, path, f"read/{path.name}")
        self.files[self._source.name].append(SourceFile(path, landed, place=place, file_set=landed.uri))
        for source in self._context.pipeline.list_sources(self._source):
            assert source.list_column is not None
            listed = folder / f"{source.name}.csv"
            repeated = write_list_records(path, self._source.contract, source.list_column, source.contract, listed)
            self.notes += [f"{landed.uri}: {note}" for note in repeated]
            place = self._publish(landed, listed, f"read/{listed.name}")
            self.files[source.name].append(SourceFile(listed, landed, place=place, file_set=landed.uri))

    def _publish(self, landed: LandedObject, path: Path, name: str) -> LandedObject:
        lake, archive = self._context.platform.lake, _archive(self._source)
        return self._head(
            copy_into_lake(lake, path, archive.bucket, self._prefix(landed) + name, self._folder / "copies")
        )


def _joined(paths: Sequence[Path], target: Path) -> Path:
    """Write CSV files with the same header to `target` as one file with one header.

    Raises:
        RejectedObjectError: their headers differ.
    """
    first = b""
    with open(target, "wb") as joined:
        for number, path in enumerate(paths):
            with open(path, "rb") as file:
                header = file.readline().removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
                first = first or header
                if header != first:
                    raise RejectedObjectError(
                        f"The archive has files with different headers: {paths[0].name} and {path.name}.",
                        code="manifest_mismatch",
                        remedy="Deliver one archive for each extract.",
                    )
                if number == 0:
                    joined.write(header + b"\n")
                shutil.copyfileobj(file, joined, 1 << 20)
                file.seek(max(file.tell() - 1, 0))
                if file.read(1) != b"\n":
                    joined.write(b"\n")
    return target


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
