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
from pipeline_assets.contracts import Contract
from pipeline_assets.engine import BadRecord, FileOutcome, RejectPolicy, SourceFile
from pipeline_assets.engine.choice import Wanted
from pipeline_assets.engine.formats.csv.dialect import BOM, open_as_utf8
from pipeline_assets.errors import EngineError, LakeError, ObjectChangedError, RejectedObjectError
from pipeline_assets.lake import LandedObject
from pipeline_assets.lake.archives import Member, unpack
from pipeline_assets.lake.archives.names import NAME_BYTES, PART_BYTES
from pipeline_assets.lake.store import copy_into_lake
from pipeline_assets.pipeline.resolved import ResolvedPipeline, Source
from pipeline_assets.pipeline.value import Archive, ArchiveContents
from pipeline_assets.progress import progress
from pipeline_assets.warehouse import ledger

_STARTED = "unpack/started"
_CLOCK_TOLERANCE = timedelta(days=1)
_DIGEST = 8  # characters


def open_archives(context: BatchContext, discovery: Discovery, folder: Path) -> tuple[Discovery, set[str]]:
    """Open the new archives of a batch; `folder` is for their members.

    Returns:
        The discovery with the files to read and the outcomes of archives of which nothing is read, and the uris of
        objects that changed meanwhile.
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
        with progress(f"Opening {self._source.name}", "archives", len(paths)) as step:
            for number, (landed, path) in enumerate(paths.items()):
                if landed in repeated:
                    self.objects.append(landed)
                    self.unread.append(FileOutcome(landed))
                else:
                    self._open_or_reject(landed, path, self._folder / str(number), times)
                step.advance()

    def _open_or_reject(
        self, landed: LandedObject, path: Path, folder: Path, times: Mapping[tuple[str, str], datetime]
    ) -> None:
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
            taken = set() if elsewhere and first.uri not in loaded_from else {first}
            repeated |= set(archives) - taken
        return repeated

    def _times_of_replaced(self, objects: Sequence[LandedObject]) -> Mapping[tuple[str, str], datetime]:
        with self._context.platform.warehouse.read_only() as transaction:
            uris = sorted(landed.uri for landed in objects)
            # Rejected archives and copies are in the ledger with their own time, which must not win over a manifest's.
            name = self._context.pipeline.name
            return ledger.last_modified(transaction, name, uris, only_with_records=True) if uris else {}

    def _open(self, landed: LandedObject, path: Path, folder: Path, times: Mapping[tuple[str, str], datetime]) -> None:
        context, archive = self._context, _archive(self._source)
        made = folder / "made"  # not beside the members, which may have any name
        made.mkdir(parents=True)
        try:
            members = unpack(path, folder / "members", context.platform.archive_limits)
            contents = archive.contents(members)
            read, notes = self._files_to_read(landed, contents, made)
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
        batch, name = context.batch_id, self._folder_name(landed)
        _refuse_long_keys(f"{archive.prefix}{batch}/{name}/", members)
        if context.platform.lake.changed([landed]):
            self.changed.add(landed.uri)
            return
        if contents.created_at:  # the bytes that are at a key now win over those that were there before
            replaced = times.get((self._source.name, landed.uri))
            landed = replace(landed, modified=max(contents.created_at, replaced or contents.created_at))
        stored = {m.path: self._publish(m.path, f"{batch}/{name}/{m.name}") for m in members}
        for source, file in read.items():
            place = stored.get(file) or self._publish(file, f"{batch}/read/{name}/{file.name}")
            self.files[source].append(SourceFile(file, landed, place=place, file_set=landed.uri))
        if not read:
            self.unread.append(FileOutcome(landed))
        self.objects.append(landed)
        self.notes += [f"{landed.uri}: {note}" for note in notes]

    def _files_to_read(
        self, landed: LandedObject, contents: ArchiveContents, folder: Path
    ) -> tuple[dict[str, Path], list[str]]:
        """By source, the file of the archive's records and one of the records of each list in them; and notes."""
        if not contents.files:
            return {}, []
        path = contents.files[0]
        if len(contents.files) > 1:
            path = _joined(contents.files, self._source.contract, folder / "records.csv")
        read, notes = {self._source.name: path}, []
        for source in self._context.pipeline.list_sources(self._source):
            assert source.list_column is not None
            read[source.name] = folder / f"{source.name}.csv"
            notes += write_list_records(
                path,
                self._source.contract,
                source.list_column,
                source.contract,
                read[source.name],
                lambda: self._bad_lines(SourceFile(path, replace(landed, uri=path.as_uri())), folder / "validation"),
            )
        return read, notes

    def _bad_lines(self, file: SourceFile, scratch: Path) -> set[int | None]:
        """The lines of the records that break their contract, whatever their number."""
        engine, contract = self._context.platform.engine.pick(0, Wanted.duckdb), self._source.contract
        without_references = tuple(replace(column, reference=None) for column in contract.columns)
        with engine.session(scratch, RejectPolicy(share=1)) as session:
            session.read(self._source.name, replace(contract, columns=without_references), [file])
            session.deduplicate(self._source.name)
            return {record.line for record in session.bad_records(self._source.name)}

    def _folder_name(self, landed: LandedObject) -> str:
        """The archive's name, cut to what a folder may have, and the start of its digest, which makes it distinct."""
        stem = PurePosixPath(landed.key).stem.encode()[: PART_BYTES - _DIGEST - 1].decode(errors="ignore")
        return f"{stem}-{self.digests[landed.identity][:_DIGEST]}"

    def _publish(self, path: Path, name: str) -> LandedObject:
        """Copy a file to the processed zone."""
        lake, archive = self._context.platform.lake, _archive(self._source)
        uri = copy_into_lake(lake, path, archive.bucket, archive.prefix + name, self._folder / "copies")
        place = lake.head(uri)
        if place is None:
            raise LakeError(f"{uri} was written and does not exist.", remedy="Run again.")
        return place


def _refuse_long_keys(prefix: str, members: Sequence[Member]) -> None:
    for member in members:
        if len((prefix + member.name).encode()) > NAME_BYTES:
            raise RejectedObjectError(
                f"The name {member.name[:40]}… is too long for a key of {NAME_BYTES} bytes below {prefix}.",
                code="archive_unusable_name",
                remedy="Pack the archive again with shorter names.",
            )


def _joined(paths: Sequence[Path], contract: Contract, target: Path) -> Path:
    """CSV files with the same columns as one file; the header of all but the first is left out.

    Raises:
        RejectedObjectError: they have other columns, or in another order, or one is no text.
    """
    first: tuple[str, ...] = ()
    with open(target, "wb") as joined:
        for path in paths:
            plain, dialect = open_as_utf8(
                path, contract.dialect, contract.column_names, path.with_name(f"{path.name}.utf8")
            )
            if not dialect.header:  # an empty file
                continue
            if first and dialect.header != first:
                raise RejectedObjectError(
                    f"The archive has files with different headers: {paths[0].name} and {path.name}.",
                    code="manifest_mismatch",
                    remedy="Deliver one archive for each extract.",
                )
            with open(plain, "rb") as file:
                header = next(line for line in file if line.removeprefix(BOM).strip(b"\r\n"))
                if not first:
                    joined.write(header.removeprefix(BOM).rstrip(b"\r\n") + b"\n")
                    first = dialect.header
                shutil.copyfileobj(file, joined, 1 << 20)
                file.seek(max(file.tell() - 1, 0))
                if file.read(1) != b"\n":
                    joined.write(b"\n")
    return target


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
