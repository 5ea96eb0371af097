"""A session that collects its steps and runs them elsewhere: in a local Spark, on a cluster, or in a Glue job.

Steps are kept until a result is needed; then all of them go to the runner at once. The response is translated into the
codes and reasons that the embedded engine would give, from the same rules. The embedded engine also writes lake tables
here, from the job's Parquet: that is work on local files, and its memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal, Protocol

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.names import spark_name, sql_names
from pipeline_assets.contracts.validation import FLOATS, MISTYPED, rules
from pipeline_assets.duckdb_session import duckdb_session
from pipeline_assets.engine.distributed.plan import contract_to
from pipeline_assets.engine.distributed.split_reader import TYPED, FileSplit
from pipeline_assets.engine.duckdb import csv_reader, json_reader, parquet_reader
from pipeline_assets.engine.duckdb.inputs import path_list, quoted
from pipeline_assets.engine.file_sets import rejection_with
from pipeline_assets.engine.formats.json.record_sql import ITEM_COLUMNS, positions
from pipeline_assets.engine.formats.parquet.record_sql import typed_header
from pipeline_assets.engine.formats.parquet.typed_file import is_typed
from pipeline_assets.engine.interface import (
    BadRecord,
    FileOutcome,
    LakeFile,
    LakeTableChanges,
    RejectPolicy,
    SourceFile,
    ValueCheck,
)
from pipeline_assets.engine.lake_table_writer import write_lake_table
from pipeline_assets.engine.validation_query import match_columns, validation_select
from pipeline_assets.engine.versions import every_version_of, newest_first
from pipeline_assets.errors import ObjectChangedError
from pipeline_assets.lake.objects import as_utc_naive
from pipeline_assets.progress import progress
from pipeline_assets.sqlfiles import transpile

_LAKE_RELATIONS = ("LAKE_ROWS", "LAKE_REPLACED")  # the names of a table's relations start with these
_IDENTITY = ("_FILE", "_SPLIT", "_RECORD")


class Runner(Protocol):
    """Runs steps. `folder` is where tasks write results."""

    folder: str

    def run(self, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Run further steps; see `engine.spark.job.Job.run` for the response."""

    def upload(self, path: Path, name: str) -> str:
        """Make a local file available to tasks; returns its uri."""

    def source(self, file: SourceFile, name: str) -> str:
        """The uri from which tasks read a landed file."""

    def download(self, uri: str, folder: Path) -> Path:
        """A local copy of a result."""


class PlannedWritten:
    """See `pipeline_assets.engine.interface.Written`; the file is written when `rows` is read."""

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
class _PlannedInput:
    """An input: its files, and the job's response about them."""

    contract: Contract
    files: list[SourceFile]
    misfits: tuple[str, ...] = ()
    newest_first: str = ""
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
        self._inputs: dict[str, _PlannedInput] = {}
        self._writes: dict[str, dict[str, Any]] = {}
        self._lake: dict[str, str] = {}
        self._uris: dict[str, str] = {}  # uris that tasks read, with the uris of the landed objects
        self._count = 0

    # --- steps ---------------------------------------------------------------------------------------------

    def read(self, name: str, contract: Contract, files: Sequence[SourceFile]) -> None:
        self._inputs[name] = _PlannedInput(contract, list(files))
        typed = [is_typed(file, contract) for file in files]
        self._steps.append(
            {
                "do": "read",
                "name": name,
                "contract": contract_to(contract),
                "files": [self._file(name, n, *file) for n, file in enumerate(zip(files, typed, strict=True))],
                "validate": _validation(contract, TYPED if any(typed) else ""),
                "items": _items(contract),
            }
        )

    def _file(self, name: str, number: int, file: SourceFile, typed: bool) -> dict[str, Any]:
        uri, stored = self._runner.source(file, f"{name}-{number}"), file.place or file.landed
        # A replay file is local, not the object that its records came from.
        etag = stored.etag if file.path is None else ""
        self._uris[uri] = file.landed.uri
        size = file.path.stat().st_size if file.path else stored.size
        split = FileSplit(number, uri, etag=etag, waiting=len(file.waiting), size=size, typed=typed)
        return {
            "split": vars(split),
            "uri": file.landed.uri,
            "etag": file.landed.etag,
            "modified": as_utc_naive(file.landed.modified).isoformat(sep=" "),
            "file_set": "" if file.waiting else file.file_set,
        }

    def add_published(self, name: str, select: str) -> None:
        contract = self._inputs[name].contract
        columns = sql_names((*contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_RESCUED"))
        wanted = transpile(f"SELECT {columns} FROM ({select}) AS PUBLISHED", "spark")
        self._steps.append({"do": "add_published", "name": name, "select": wanted})

    def table(self, name: str, path: Path) -> None:
        self._steps.append({"do": "table", "name": name, "where": self._runner.upload(path, name)})

    def view(self, name: str, select: str) -> None:
        self._steps.append({"do": "view", "name": name, "select": transpile(select, "spark")})
        if name.startswith(_LAKE_RELATIONS):
            self._lake[name] = self._add_write(select)

    def deduplicate(
        self, name: str, *, version: str = "", snapshot: bool = False, check: ValueCheck | None = None
    ) -> None:
        planned = self._inputs[name]
        planned.newest_first = newest_first(planned.contract, version, spark_name)
        step: dict[str, Any] = {"do": "deduplicate", "name": name, "order": planned.newest_first}
        step |= {"snapshot": snapshot, "check": "", "check_every_version": False}
        if check:
            planned.misfits = check.reasons
            step |= {"check": transpile(check.select, "spark"), "check_every_version": check.every_version}
        self._steps.append(step)

    def every_version(self, name: str, *, last_of_object: bool = False) -> str:
        relation = every_version_of(name, last_of_object)
        order = self._inputs[name].newest_first if last_of_object else ""
        self._steps.append({"do": "every_version", "name": name, "relation": relation, "last_by": order})
        return relation

    def write(self, select: str, path: Path, form: Literal["csv", "parquet"]) -> PlannedWritten:
        return PlannedWritten(self, self._add_write(select), path, form)

    def _add_write(self, select: str) -> str:
        self._count += 1
        name = f"result-{self._count}"
        uri = f"{self._runner.folder.rstrip('/')}/{name}"
        self._steps.append({"do": "write", "name": name, "select": transpile(select, "spark"), "where": uri})
        return name

    def _flush(self) -> None:
        """Run all steps that were collected."""
        if self._steps:
            steps, self._steps = self._steps, []
            with progress(f"Running a job of {len(steps)} steps"):
                response = self._runner.run(steps)
            if "changed" in response:
                raise ObjectChangedError(self._uris.get(response["changed"], response["changed"]))
            self._writes |= response["writes"]
            for name, result in response["inputs"].items():
                for file, counts in zip(self._inputs[name].files, result["outcomes"], strict=True):
                    if counts.get("changed"):
                        raise ObjectChangedError(file.landed.uri)
                self._inputs[name].response = result

    # --- results -------------------------------------------------------------------------------------------

    def finish(self, name: str, path: Path, form: str) -> int:
        """Write the result of a write step to one local file; returns its rows."""
        options = "FORMAT csv, HEADER" if form == "csv" else "FORMAT parquet, COMPRESSION zstd"
        return self._scalar(f"COPY (SELECT * FROM {self._result(name)}) TO {quoted(str(path))} ({options})")

    def count(self, select: str) -> int:
        return self._scalar(f"SELECT COUNT(*) FROM {self._result(self._add_write(select))}")

    def _scalar(self, sql: str) -> int:
        with duckdb_session(self._scratch / "spill", self._memory_limit) as connection:
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
        with duckdb_session(self._scratch / "spill", self._memory_limit) as connection:
            for relation in _LAKE_RELATIONS:
                rows = self._result(self._lake[f"{relation}_{contract.name.upper()}"])
                connection.execute(f"CREATE TEMP VIEW {relation} AS SELECT * FROM {rows}")
            return write_lake_table(connection, contract, existing, folder, target_bytes)

    def _result(self, name: str) -> str:
        """The result of a write step, as a relation of the embedded engine."""
        if name not in self._writes:
            self._flush()
        folder = self._scratch / name
        folder.mkdir(exist_ok=True)
        paths = [self._runner.download(uri, folder) for uri in self._writes[name]["files"]]
        return f"read_parquet({path_list(paths)})"

    # --- outcomes of the files ----------------------------------------------------------------------------

    def outcomes(self, name: str) -> list[FileOutcome]:
        outcomes = self._own_outcomes(name)
        for outcome, counts in zip(outcomes, self._response(name)["outcomes"], strict=True):
            if "with" in counts and outcome.rejection is None:
                other, file = counts["with"]
                cause = self._own_outcomes(other)[file].rejection
                assert cause is not None
                outcome.rejection = rejection_with(outcome.landed, cause)
        return outcomes

    def _own_outcomes(self, name: str) -> list[FileOutcome]:
        """The outcome of each file, without rejections because of another file."""
        planned, response = self._inputs[name], self._response(name)
        if planned.outcomes is None:
            planned.outcomes = [
                _outcome(file, counts) for file, counts in zip(planned.files, response["outcomes"], strict=True)
            ]
            self._report_rejections(name)
        return planned.outcomes

    def _report_rejections(self, name: str) -> None:
        """Set the reasons of rejections, and the replayed records that are valid now."""
        planned, response = self._inputs[name], self._response(name)
        assert planned.outcomes is not None
        still_bad: dict[int, set[int]] = {}
        samples: dict[int, list[BadRecord]] = {}
        too_many = {file for file, counts in enumerate(response["outcomes"]) if "too_many" in counts}
        for file, rows in groupby(self._bad_rows(name), key=lambda row: row["_FILE"]):
            if file in too_many:
                samples[file] = [self._bad(planned, row) for row in islice(rows, 3)]
            elif planned.files[file].waiting:
                still_bad[file] = {row["_RECORD"] for row in rows}
        for file, (outcome, counts) in enumerate(zip(planned.outcomes, response["outcomes"], strict=True)):
            waiting = planned.files[file].waiting
            if waiting and not counts.get("left_out"):
                bad_numbers = still_bad.get(file, set())
                outcome.released = tuple(key for number, (key, _) in enumerate(waiting) if number not in bad_numbers)
            if file in too_many:
                outcome.rejection = self._policy.rejection(
                    outcome.landed,
                    outcome.read,
                    counts["too_many"],
                    response["differences"].get(str(file)),
                    samples[file],
                )
            elif "rejection" in counts and not waiting:
                outcome.rejection = BadRecord(
                    outcome.landed, None, counts["rejection"]["code"], counts["rejection"]["reason"]
                )

    def bad_records(self, name: str) -> Iterator[BadRecord]:
        planned, response = self._inputs[name], self._response(name)
        yield from (outcome.rejection for outcome in self.outcomes(name) if outcome.rejection is not None)
        reported = {file for file, counts in enumerate(response["outcomes"]) if not counts.get("left_out")}
        for row in self._bad_rows(name):
            if row["_FILE"] in reported:
                yield self._bad(planned, row)

    def _bad_rows(self, name: str) -> Iterator[dict[str, Any]]:
        """The bad records in the job's response, in the order of files and records."""
        folder = self._scratch / f"{name}-bad"
        folder.mkdir(exist_ok=True)
        paths = [self._runner.download(uri, folder) for uri in self._response(name)["bad"]]
        if not paths:
            return
        with duckdb_session(self._scratch / "spill", self._memory_limit) as connection:
            reader = connection.sql(
                f"SELECT * FROM read_parquet({path_list(paths)}) ORDER BY {', '.join(_IDENTITY)}"
            ).to_arrow_reader(10_000)
            for batch in reader:
                yield from batch.to_pylist()

    def _bad(self, planned: _PlannedInput, row: Mapping[str, Any]) -> BadRecord:
        file, contract = planned.files[row["_FILE"]], planned.contract
        header: tuple[str, ...] = ()
        if contract.form == "json":
            all_rules = [*rules(contract), *(rules(contract.items) if contract.items else ())]
            code, reason = json_reader.explain_bad_record(
                contract, all_rules, row["_RULE"], row["_RAW"], row["_POSITION"], planned.misfits
            )
        else:
            header = tuple(self._response_of(planned)[row["_FILE"]]["header"])
            bad = row["_RULE"], row["_RAW"], row["_FAULT"], planned.misfits
            if typed_header(header):
                code, reason = parquet_reader.explain_bad_record(contract, *bad)
            else:
                code, reason = csv_reader.explain_bad_record(contract, match_columns(contract, header), *bad)
        quarantine_id, line = file.waiting[row["_RECORD"]] if file.waiting else (None, row["_LINE"])
        return BadRecord(file.landed, line, code, reason, row["_RAW"], header, quarantine_id)

    def _response_of(self, planned: _PlannedInput) -> list[dict[str, Any]]:
        assert planned.response is not None
        return planned.response["outcomes"]

    def _response(self, name: str) -> dict[str, Any]:
        if self._inputs[name].response is None:
            self._flush()
        response = self._inputs[name].response
        assert response is not None, f"{name} was not deduplicated"
        return response


def _outcome(file: SourceFile, counts: Mapping[str, Any]) -> FileOutcome:
    read, quarantined, superseded = counts["read"], counts["quarantined"], counts["superseded"]
    return FileOutcome(
        file.landed,
        read=read,
        loaded=read - quarantined - superseded,
        superseded=superseded,
        quarantined=quarantined,
        unknown_columns=tuple(counts["unknown"]),
        missing_columns=tuple(counts["missing"]),
        waiting=bool(file.waiting),
        header_skipped=counts["header_skipped"],
        floats=counts["floats"],
    )


def _validation(contract: Contract, typed_row: str) -> str:
    """Spark SQL over RAW that types and validates the texts of an input; malformed records have the fault 0."""
    extra = ["_RESCUED", "_MALFORMED", *_IDENTITY, "_STATISTICS"]
    if contract.form == "json":
        extra += [MISTYPED, *(ITEM_COLUMNS if contract.items else ())]
    kept = ", ".join(
        spark_name(name) for name in (*contract.column_names, *extra) if name not in ("_MALFORMED", MISTYPED)
    )
    typed = transpile(validation_select(contract, positions(contract), extra, typed_row=typed_row), "spark")
    floats = FLOATS if contract.floats else f"0 AS {FLOATS}"
    return f"SELECT {kept}, {floats}, CASE WHEN _MALFORMED THEN 0 ELSE _FAULT END AS _FAULT FROM ({typed}) AS JUDGED"


def _items(contract: Contract) -> dict[str, Any] | None:
    """Spark SQL for the elements of the lists in the records of an input."""
    items = contract.items
    if items is None:
        return None
    item_columns = (
        *contract.column_names,
        "_SOURCE_URI",
        "_SOURCE_MODIFIED_AT",
        "_IS_NEW",
        "_RESCUED",
        "_POSITION",
        MISTYPED,
    )
    fault_columns = (*_IDENTITY, "_POSITION", MISTYPED)
    return {
        "name": items.name,
        "offset": len(rules(contract)),
        "floats": FLOATS if items.floats else "0",
        "validate": transpile(validation_select(items, positions(items), fault_columns), "spark"),
        "show": transpile(validation_select(items, positions(items), item_columns), "spark"),
        "check": transpile(validation_select(items, positions(items), (*item_columns, "_ROW")), "spark"),
    }
