"""A session that collects its steps and has them done elsewhere: by a local Spark, a cluster, or a Glue job.

Steps wait until a result is asked for; then all of them go to the runner at once. What comes back is put into the
words that every engine uses: the same codes and reasons, from the same rules, as the embedded engine would give. Files
of lake tables are laid out here, by the embedded engine, from the job's Parquet: that is work on local files, and its
memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import MISTYPED, rules
from pipeline_assets.engine.distributed.file_splits import FileSplit
from pipeline_assets.engine.distributed.plan import contract_to
from pipeline_assets.engine.duckdb import csv_reader, json_reader
from pipeline_assets.engine.duckdb.inputs import path_list, quoted
from pipeline_assets.engine.file_sets import rejection_with
from pipeline_assets.engine.formats.json.record_sql import ITEM_COLUMNS, positions
from pipeline_assets.engine.interface import (
    BadRecord,
    FileOutcome,
    LakeFile,
    LakeTableChanges,
    RejectPolicy,
    SourceFile,
)
from pipeline_assets.engine.lake_table_writer import write_lake_table
from pipeline_assets.engine.validation_query import match_columns, validation_select
from pipeline_assets.engine.versions import every_version_of, newest_first
from pipeline_assets.errors import ObjectChangedError
from pipeline_assets.lake.objects import as_utc_naive
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb

_LAKE_RELATIONS = ("LAKE_ROWS", "LAKE_REPLACED")  # of a table: with its name behind
_IDENTITY = ("_FILE", "_SPLIT", "_RECORD")


class Runner(Protocol):
    """Does steps. `folder` is where results go, as tasks see it."""

    folder: str

    def run(self, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Do steps that follow those done before; see `spark_job.Job.run` for the response."""

    def upload(self, path: Path, name: str) -> str:
        """Where tasks find a local file."""

    def source(self, file: SourceFile, name: str) -> str:
        """Where tasks find a landed file."""

    def download(self, where: str, folder: Path) -> Path:
        """A local copy of a result."""


class PlannedWritten:
    """See `pipeline_assets.engine.interface.Written`; written when somebody asks."""

    def __init__(self, session: PlannedSession, name: str, path: Path, form: str) -> None:
        self._session = session
        self._form = form
        self._rows: int | None = None
        self.name = name
        self.path = path

    @property
    def rows(self) -> int:
        if self._rows is None:
            self._rows = self._session.finish(self.name, self.path, self._form)
        return self._rows


@dataclass
class _Read:
    """An input: its files, and what the job said of them."""

    contract: Contract
    files: list[SourceFile]
    response: dict[str, Any] | None = None
    outcomes: list[FileOutcome] | None = None


class PlannedSession:
    """See `pipeline_assets.engine.interface.Session`."""

    def __init__(self, runner: Runner, scratch: Path, policy: RejectPolicy, memory_limit: str) -> None:
        self._runner = runner
        self._scratch = scratch
        self._policy = policy
        self._memory_limit = memory_limit
        self._steps: list[dict[str, Any]] = []
        self._inputs: dict[str, _Read] = {}
        self._writes: dict[str, dict[str, Any]] = {}
        self._lake: dict[str, str] = {}
        self._uris: dict[str, str] = {}  # what tasks know files as, to what they are called
        self._count = 0

    # --- steps ---------------------------------------------------------------------------------------------

    def read(self, name: str, contract: Contract, files: Sequence[SourceFile]) -> None:
        self._inputs[name] = _Read(contract, list(files))
        self._steps.append(
            {
                "do": "read",
                "name": name,
                "contract": contract_to(contract),
                "files": [self._file(name, number, file) for number, file in enumerate(files)],
                "validate": _validation(contract),
                "items": _items(contract),
            }
        )

    def _file(self, name: str, number: int, file: SourceFile) -> dict[str, Any]:
        where, place = self._runner.source(file, f"{name}-{number}"), file.place or file.landed
        # What waited is a file of ours, not the object that it came from.
        etag = place.etag if file.path is None else ""
        self._uris[where] = file.landed.uri
        size = file.path.stat().st_size if file.path else place.size
        split = FileSplit(number, where, etag=etag, waiting=len(file.waiting), size=size)
        return {
            "split": vars(split),
            "uri": file.landed.uri,
            "etag": file.landed.etag,
            "modified": as_utc_naive(file.landed.modified).isoformat(sep=" "),
            "file_set": "" if file.waiting else file.file_set,
        }

    def add_published(self, name: str, select: str) -> None:
        contract = self._inputs[name].contract
        columns = ", ".join((*contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED"))
        wanted = transpile(f"SELECT {columns} FROM ({select}) AS PUBLISHED", "spark")
        self._steps.append({"do": "add_published", "name": name, "select": wanted})

    def table(self, name: str, path: Path) -> None:
        self._steps.append({"do": "table", "name": name, "where": self._runner.upload(path, name)})

    def view(self, name: str, select: str) -> None:
        self._steps.append({"do": "view", "name": name, "select": transpile(select, "spark")})
        if name.startswith(_LAKE_RELATIONS):
            self._lake[name] = self._add_write(select)

    def deduplicate(self, name: str, *, version: str = "", snapshot: bool = False) -> None:
        order = newest_first(self._inputs[name].contract, version)
        self._steps.append({"do": "deduplicate", "name": name, "order": order, "snapshot": snapshot})

    def every_version(self, name: str) -> str:
        self._steps.append({"do": "every_version", "name": name})
        return every_version_of(name)

    def write(self, select: str, path: Path, form: Literal["csv", "parquet"]) -> PlannedWritten:
        return PlannedWritten(self, self._add_write(select), path, form)

    def _add_write(self, select: str) -> str:
        self._count += 1
        name = f"result-{self._count}"
        where = f"{self._runner.folder.rstrip('/')}/{name}"
        self._steps.append({"do": "write", "name": name, "select": transpile(select, "spark"), "where": where})
        return name

    def _flush(self) -> None:
        """Have everything done that waits."""
        if self._steps:
            steps, self._steps = self._steps, []
            response = self._runner.run(steps)
            if "changed" in response:
                raise ObjectChangedError(self._uris.get(response["changed"], response["changed"]))
            self._writes |= response["writes"]
            for name, found in response["inputs"].items():
                for file, said in zip(self._inputs[name].files, found["outcomes"], strict=True):
                    if said.get("changed"):
                        raise ObjectChangedError(file.landed.uri)
                self._inputs[name].response = found

    # --- results -------------------------------------------------------------------------------------------

    def finish(self, name: str, path: Path, form: str) -> int:
        """Make one local file of what a write step left; returns its rows."""
        options = "FORMAT csv, HEADER" if form == "csv" else "FORMAT parquet, COMPRESSION zstd"
        return self._scalar(f"COPY (SELECT * FROM {self._result(name)}) TO {quoted(str(path))} ({options})")

    def count(self, select: str) -> int:
        return self._scalar(f"SELECT COUNT(*) FROM {self._result(self._add_write(select))}")

    def _scalar(self, sql: str) -> int:
        with self._host() as connection:
            row = connection.execute(sql).fetchone()
        return row[0] if row else 0

    def new_rows(self, name: str) -> int:
        return self._response(name)["new_rows"]

    def write_lake_table(
        self,
        contract: Contract,
        existing: Callable[[Sequence[str]], Sequence[LakeFile]],
        folder: Path,
        target_bytes: int,
    ) -> LakeTableChanges:
        with self._host() as connection:
            for relation in _LAKE_RELATIONS:
                found = self._result(self._lake[f"{relation}_{contract.table}"])
                connection.execute(f"CREATE TEMP VIEW {relation} AS SELECT * FROM {found}")
            return write_lake_table(connection, contract, existing, folder, target_bytes)

    def _result(self, name: str) -> str:
        """What a write step left, as a relation of the embedded engine."""
        if name not in self._writes:
            self._flush()
        folder = self._scratch / name
        folder.mkdir(exist_ok=True)
        paths = [self._runner.download(place, folder) for place in self._writes[name]["files"]]
        return f"read_parquet({path_list(paths)})"

    def _host(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        self._scratch.mkdir(parents=True, exist_ok=True)
        config = {"memory_limit": self._memory_limit, "temp_directory": str(self._scratch / "spill")}
        return duckdb.connect(":memory:", config=config)

    # --- what became of the files ----------------------------------------------------------------------------

    def outcomes(self, name: str) -> list[FileOutcome]:
        outcomes = self._own_outcomes(name)
        for outcome, said in zip(outcomes, self._response(name)["outcomes"], strict=True):
            if "with" in said and outcome.rejection is None:
                other, file = said["with"]
                cause = self._own_outcomes(other)[file].rejection
                assert cause is not None
                outcome.rejection = rejection_with(outcome.landed, cause)
        return outcomes

    def _own_outcomes(self, name: str) -> list[FileOutcome]:
        """What became of each file, but for those that are rejected with another one."""
        entry, response = self._inputs[name], self._response(name)
        if entry.outcomes is None:
            entry.outcomes = [
                _outcome(file, said) for file, said in zip(entry.files, response["outcomes"], strict=True)
            ]
            self._report_rejections(name)
        return entry.outcomes

    def _report_rejections(self, name: str) -> None:
        """Give rejections their reason, and name the waiting records that passed."""
        entry, response = self._inputs[name], self._response(name)
        assert entry.outcomes is not None
        still: dict[int, set[int]] = {}
        samples: dict[int, list[BadRecord]] = {}
        too_many = {file for file, said in enumerate(response["outcomes"]) if "too_many" in said}
        for file, rows in groupby(self._bad_rows(name), key=lambda row: row["_FILE"]):
            if file in too_many:
                samples[file] = [self._bad(entry, row) for row in islice(rows, 3)]
            elif entry.files[file].waiting:
                still[file] = {row["_RECORD"] for row in rows}
        for file, (outcome, said) in enumerate(zip(entry.outcomes, response["outcomes"], strict=True)):
            waiting = entry.files[file].waiting
            if waiting and not said.get("left_out"):
                kept = still.get(file, set())
                outcome.released = tuple(key for number, (key, _) in enumerate(waiting) if number not in kept)
            if file in too_many:
                outcome.rejection = self._policy.rejection(
                    outcome.landed,
                    outcome.read,
                    said["too_many"],
                    response["differences"].get(str(file)),
                    samples[file],
                )
            elif "rejection" in said and not waiting:
                outcome.rejection = BadRecord(
                    outcome.landed, None, said["rejection"]["code"], said["rejection"]["reason"]
                )

    def bad_records(self, name: str) -> Iterator[BadRecord]:
        entry, response = self._inputs[name], self._response(name)
        yield from (outcome.rejection for outcome in self.outcomes(name) if outcome.rejection is not None)
        reported = {file for file, said in enumerate(response["outcomes"]) if not said.get("left_out")}
        for row in self._bad_rows(name):
            if row["_FILE"] in reported:
                yield self._bad(entry, row)

    def _bad_rows(self, name: str) -> Iterator[dict[str, Any]]:
        """What the job found of bad records, in the order of files and records."""
        folder = self._scratch / f"{name}-bad"
        folder.mkdir(exist_ok=True)
        paths = [self._runner.download(place, folder) for place in self._response(name)["bad"]]
        if not paths:
            return
        with self._host() as connection:
            reader = connection.sql(
                f"SELECT * FROM read_parquet({path_list(paths)}) ORDER BY {', '.join(_IDENTITY)}"
            ).to_arrow_reader(10_000)
            for batch in reader:
                yield from batch.to_pylist()

    def _bad(self, entry: _Read, row: Mapping[str, Any]) -> BadRecord:
        file, contract = entry.files[row["_FILE"]], entry.contract
        header: tuple[str, ...] = ()
        if contract.form == "json":
            known = [*rules(contract), *(rules(contract.items) if contract.items else ())]
            code, reason = json_reader.why(contract, known, row["_RULE"], row["_RAW"], row["_POSITION"])
        else:
            header = tuple(self._response_of(entry)[row["_FILE"]]["header"])
            columns = match_columns(contract, header)
            code, reason = csv_reader.why(contract, columns, row["_RULE"], row["_RAW"], row["_FAULT"])
        waiting_id, line = file.waiting[row["_RECORD"]] if file.waiting else (None, row["_LINE"])
        return BadRecord(file.landed, line, code, reason, row["_RAW"], header, waiting_id)

    def _response_of(self, entry: _Read) -> list[dict[str, Any]]:
        assert entry.response is not None
        return entry.response["outcomes"]

    def _response(self, name: str) -> dict[str, Any]:
        if self._inputs[name].response is None:
            self._flush()
        found = self._inputs[name].response
        assert found is not None, f"{name} was not settled"
        return found


def _outcome(file: SourceFile, said: Mapping[str, Any]) -> FileOutcome:
    read, quarantined, superseded = said["read"], said["quarantined"], said["superseded"]
    return FileOutcome(
        file.landed,
        read=read,
        loaded=read - quarantined - superseded,
        superseded=superseded,
        quarantined=quarantined,
        unknown_columns=tuple(said["unknown"]),
        missing_columns=tuple(said["missing"]),
        waiting=bool(file.waiting),
        header_skipped=said["header_skipped"],
    )


def _validation(contract: Contract) -> str:
    """Spark SQL over RAW that types the texts of an input; rows that are no record at all have the fault 0."""
    extra = ["_RESCUED", "_MALFORMED", *_IDENTITY, "_STATISTICS"]
    if contract.form == "json":
        extra += [MISTYPED, *(ITEM_COLUMNS if contract.items else ())]
    kept = ", ".join(name for name in (*contract.column_names, *extra) if name not in ("_MALFORMED", MISTYPED))
    typed = transpile(validation_select(contract, positions(contract), extra), "spark")
    return f"SELECT {kept}, CASE WHEN _MALFORMED THEN 0 ELSE _FAULT END AS _FAULT FROM ({typed}) AS JUDGED"


def _items(contract: Contract) -> dict[str, Any] | None:
    """The same for the elements of the lists in its records."""
    items = contract.items
    if items is None:
        return None
    shown = (*contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_IS_NEW", "_RESCUED", "_POSITION", MISTYPED)
    blamed = (*_IDENTITY, "_POSITION", MISTYPED)
    return {
        "name": items.name,
        "offset": len(rules(contract)),
        "validate": transpile(validation_select(items, positions(items), blamed), "spark"),
        "show": transpile(validation_select(items, positions(items), shown), "spark"),
    }
