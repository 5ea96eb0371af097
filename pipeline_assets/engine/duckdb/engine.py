"""The embedded engine: DuckDB in process; it spills to the session's scratch folder.

A session keeps its inputs as temporary tables, one per group of files; the readers form the groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.names import sql_name, sql_names
from pipeline_assets.duckdb_session import duckdb_session, is_disk_full
from pipeline_assets.engine.duckdb.inputs import InputTables, numbers_in_file, quoted
from pipeline_assets.engine.duckdb.json_reader import DocumentReader
from pipeline_assets.engine.duckdb.relations import define_relations, good_rows, group_selects, no_rows
from pipeline_assets.engine.duckdb.tabular_reader import TabularReader
from pipeline_assets.engine.file_sets import CODE, rejected_with_set, rejection_with
from pipeline_assets.engine.formats.json.record_sql import items_select
from pipeline_assets.engine.interface import (
    BadRecord,
    FileOutcome,
    LakeFile,
    LakeTableChanges,
    RejectPolicy,
    SourceFile,
    ValueCheck,
    checked,
)
from pipeline_assets.engine.lake_table_writer import write_lake_table
from pipeline_assets.engine.validation_query import referring
from pipeline_assets.engine.versions import (
    Delivery,
    every_version_of,
    last_of_object_condition,
    newest_delivery,
    newest_first,
)
from pipeline_assets.errors import EngineError
from pipeline_assets.lake.objects import as_utc_naive
from pipeline_assets.progress import progress
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb
    import numpy as np


@dataclass(frozen=True)
class _Written:
    """See `pipeline_assets.engine.interface.Written`; the file is written already."""

    path: Path
    rows: int


class DuckDBEngine:
    """Opens DuckDB sessions. `threads` of 0 means every core."""

    name = "duckdb"
    fetches = True

    def __init__(self, *, memory_limit: str = "4GB", threads: int = 0) -> None:
        self.memory_limit = memory_limit
        self.threads = threads

    @contextmanager
    def session(self, scratch: Path, policy: RejectPolicy) -> Iterator[DuckDBSession]:
        """Open a session; its temporary files are in `scratch`."""
        import duckdb

        scratch.mkdir(parents=True, exist_ok=True)
        try:
            with duckdb_session(scratch / "spill", self.memory_limit, self.threads) as connection:
                # `query_progress` needs the first; the second keeps DuckDB from printing the progress.
                connection.execute("SET enable_progress_bar = true; SET enable_progress_bar_print = false")
                yield DuckDBSession(connection, scratch, policy)
        except duckdb.OutOfMemoryException as error:
            raise EngineError(
                f"The engine needs more than {self.memory_limit} of memory or the disk is full: "
                f"{str(error).splitlines()[0]}.",
                remedy="Raise PIPELINE_MEMORY_LIMIT, lower PIPELINE_ENGINE_THREADS, or free disk space.",
            ) from None
        except (OSError, duckdb.IOException) as error:
            if not is_disk_full(error):
                raise
            raise EngineError(
                f"The disk is full: no intermediate file can be written to {scratch}.",
                remedy="Free disk space and run again.",
            ) from None


class DuckDBSession:
    """See `pipeline_assets.engine.interface.Session`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path, policy: RejectPolicy) -> None:
        self._connection = connection
        self._scratch = scratch
        self._policy = policy
        self._inputs: dict[str, InputTables] = {}

    # --- reading -------------------------------------------------------------------------------------------

    def read(self, name: str, contract: Contract, files: Sequence[SourceFile]) -> None:
        reader = DocumentReader if contract.form == "json" else TabularReader
        tables = self._inputs[name] = InputTables(name, contract, reader(self._connection, self._scratch))
        size = sum(file.landed.size for file in files)
        with progress(f"Reading and validating {name}", "bytes", size, measure=lambda: size * self._share()):
            tables.reader.read(tables, list(files))
        self._reject(tables)
        self._set_file_variables(tables, files)
        self._reject_file_sets()
        define_relations(self._connection, tables)

    def _reject(self, tables: InputTables) -> None:
        """Leave out the rows of files that are rejected as a whole."""
        rejected = []
        for index, (file, outcome) in enumerate(zip(tables.files, tables.outcomes, strict=True)):
            if file.waiting and outcome.read != len(file.waiting):
                # One record swallowed others, so ids and records do not match: all of them stay in quarantine.
                outcome.read = outcome.quarantined = len(file.waiting)
                tables.left_out.add(index)
            elif not file.waiting and self._policy.rejects(outcome.read, outcome.quarantined):
                rejected.append(index)
        for index, broken in self._broken(tables, rejected):
            outcome = tables.outcomes[index]
            reported = islice(tables.reader.bad_records(tables, index, broken), 3)
            difference = tables.reader.other_shape(tables, index)
            outcome.rejection = self._policy.rejection(
                outcome.landed, outcome.read, outcome.quarantined, difference, reported
            )
        for index in rejected:
            tables.outcomes[index].quarantined = tables.outcomes[index].read
            tables.left_out.add(index)

    def _reject_file_sets(self) -> None:
        """Leave out the rows of files with a rejected file in their file_set, in any input."""
        file_sets = []
        for name, tables in self._inputs.items():
            for index in sorted(range(len(tables.files)), key=tables.positions.__getitem__):
                file, rejection = tables.files[index], tables.outcomes[index].rejection
                rejected = rejection is not None and rejection.code != CODE
                file_sets.append(((name, index), "" if file.waiting else file.file_set, rejected))
        for (name, index), (other, cause) in rejected_with_set(file_sets).items():
            tables, rejection = self._inputs[name], self._inputs[other].outcomes[cause].rejection
            outcome = tables.outcomes[index]
            if outcome.rejection is None:
                assert rejection is not None
                assert not tables.is_deduplicated, (
                    f"{name} was deduplicated before all files of its file_sets were read"
                )
                outcome.rejection = rejection_with(outcome.landed, rejection)
                outcome.quarantined = outcome.read
                tables.left_out.add(index)
                define_relations(self._connection, tables)

    def _set_file_variables(self, tables: InputTables, files: Sequence[SourceFile]) -> None:
        # Readers put files into groups; which version wins must not depend on that, nor differ from other engines.
        positions = {
            id(file): position for position, file in enumerate(sorted(files, key=lambda file: not file.waiting))
        }
        tables.positions = [positions[id(file)] for file in tables.files]
        landed = [file.landed for file in tables.files]
        for name, kind, values in (
            ("positions", "INTEGER", tables.positions),
            ("uris", "VARCHAR", [each.uri for each in landed]),
            ("modified", "TIMESTAMP", [as_utc_naive(each.modified) for each in landed]),
        ):
            self._connection.execute(f"SET VARIABLE {tables.name}__{name} = ?::{kind}[]", [values])

    # --- published rows, versions, references ---------------------------------------------------------------

    def add_published(self, name: str, select: str) -> None:
        tables = self._inputs[name]
        columns = sql_names(tables.contract.column_names)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name}__published AS "
            f"SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED FROM ({transpile(select, 'duckdb')})"
        )
        tables.has_published = bool(self._scalar(f"SELECT COUNT(*) FROM {name}__published"))
        define_relations(self._connection, tables)

    def table(self, name: str, path: Path) -> None:
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {sql_name(name)} AS SELECT * FROM read_parquet({quoted(str(path))})"
        )

    def view(self, name: str, select: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {sql_name(name)} AS {transpile(select, 'duckdb')}")

    def deduplicate(
        self, name: str, *, version: str = "", snapshot: bool = False, check: ValueCheck | None = None
    ) -> None:
        tables = self._inputs[name]
        tables.newest_first = (
            f"{newest_first(tables.contract, version)}, "
            f"list_extract(getvariable('{name}__positions'), _FILE + 1) DESC, _ROW_ID DESC"
        )
        with progress(f"Checking references and versions of {name}"):
            self._deduplicate(tables, snapshot, check)

    def _deduplicate(self, tables: InputTables, snapshot: bool, check: ValueCheck | None) -> None:
        name = tables.name
        # _RULE is NULL for a superseded row; it is negative for an orphan, by the number of its reference, and for a
        # misfit, whose numbers follow those of the references.
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name}__left_out (_ROW_ID BIGINT, _FILE INTEGER, _RULE INTEGER)"
        )
        self._quarantine_orphans(tables)
        while True:
            if snapshot:
                self._keep_newest_delivery(tables)
            self._keep_newest(tables)
            if not check or not self._leave_out_misfits(tables, check):
                break
            self._connection.execute(f"DELETE FROM {name}__left_out WHERE _RULE IS NULL")
        if tables.has_left_out_rows:
            self._count_left_out(tables)
        for outcome in tables.outcomes:
            outcome.loaded = outcome.read - outcome.quarantined - outcome.superseded
        self._set_released(tables)
        tables.is_deduplicated = True

    def _quarantine_orphans(self, tables: InputTables) -> None:
        for number, column in enumerate(referring(tables.contract), 1):
            assert column.reference is not None
            if column.reference.on_missing == "load":
                continue
            child = sql_name(column.name)
            self._leave_out(
                tables,
                f"SELECT _ROW_ID, _FILE, -{number} FROM ({good_rows(tables)}) AS b "
                f"WHERE _IS_NEW AND b.{child} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
                f"{sql_name(column.reference.dataset)} AS r WHERE r.{sql_name(column.reference.column)} = b.{child})",
            )

    def _leave_out_misfits(self, tables: InputTables, check: ValueCheck) -> int:
        """Leave out the rows that a value check finds; returns their number."""
        name, items = tables.name, tables.contract.items
        tables.misfits = check.reasons
        rows = good_rows(tables)
        if check.every_version:
            every = " UNION ALL ".join(group_selects(tables) or [no_rows(tables.contract)])
            orphans = f"SELECT _ROW_ID FROM {name}__left_out WHERE _RULE < 0"
            rows = f"SELECT * FROM ({every}) ANTI JOIN ({orphans}) USING (_ROW_ID)"
        with_row = f"SELECT *, _ROW_ID AS _ROW FROM ({rows})"
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {checked(name)} AS {with_row}")
        if items:
            kept = (*tables.contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_IS_NEW", "_ROW")
            elements = items_select(items, with_row, kept)
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {checked(items.name)} AS {elements}")
        return self._leave_out(
            tables,
            f"SELECT _ROW_ID, any_value(_FILE), -{len(referring(tables.contract))} - MIN(_MISFIT) FROM {checked(name)} "
            f"JOIN ({transpile(check.select, 'duckdb')}) USING (_ROW) GROUP BY _ROW_ID",
        )

    def _keep_newest_delivery(self, tables: InputTables) -> None:
        """Of several complete deliveries keep the newest; see `deduplicate`."""
        accepted = {
            index: Delivery(
                as_utc_naive(file.landed.modified),
                file.landed.uri,
                file.landed.etag,
                "" if file.waiting else file.file_set,
                bool(file.waiting),
                tables.positions[index],
            )
            for index, file in enumerate(tables.files)
            if tables.outcomes[index].rejection is None
        }
        published = None
        if tables.has_published:
            published = self._connection.execute(
                f"SELECT _SOURCE_MODIFIED_AT, _SOURCE_URI FROM {tables.name}__published "
                "WHERE _SOURCE_MODIFIED_AT IS NOT NULL AND _SOURCE_URI IS NOT NULL ORDER BY ALL DESC LIMIT 1"
            ).fetchone()
        newest = newest_delivery(accepted, published)
        kept = ", ".join(map(str, sorted(newest.files))) or "-1"
        self._leave_out(
            tables,
            f"SELECT _ROW_ID, _FILE, NULL FROM ({good_rows(tables)}) "
            f"WHERE CASE WHEN _IS_NEW THEN _FILE NOT IN ({kept}) ELSE {not newest.published} END",
        )

    def _keep_newest(self, tables: InputTables) -> None:
        """Of several versions of a key keep the newest; cheap in the common case of one version per key."""
        key, relation = sql_names(tables.contract.key), sql_name(tables.name)
        if not key:
            return
        rows, keys = self._connection.execute(
            f"SELECT COUNT(*), COUNT(DISTINCT HASH({key})) FROM {relation}"
        ).fetchone()  # type: ignore[misc]
        if rows == keys:
            return
        self._leave_out(
            tables,
            f"SELECT _ROW_ID, _FILE, NULL FROM ({good_rows(tables)}) "
            f"SEMI JOIN (SELECT {key} FROM {relation} GROUP BY {key} HAVING COUNT(*) > 1) USING ({key}) "
            f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY {tables.newest_first}) > 1",
        )

    def _count_left_out(self, tables: InputTables) -> None:
        for file, superseded, quarantined in self._connection.execute(
            f"SELECT _FILE, COUNT(*) FILTER (_RULE IS NULL), COUNT(_RULE) FROM {tables.name}__left_out "
            "WHERE _FILE IS NOT NULL GROUP BY _FILE"
        ).fetchall():
            tables.outcomes[file].superseded += superseded
            tables.outcomes[file].quarantined += quarantined

    def _leave_out(self, tables: InputTables, select: str) -> int:
        """Take the rows of a SELECT (_ROW_ID, _FILE, _RULE) out of an input; returns their number."""
        (rows,) = self._connection.execute(f"INSERT INTO {tables.name}__left_out {select}").fetchone()  # type: ignore[misc]
        if rows:
            tables.has_left_out_rows = True
            define_relations(self._connection, tables)
        return rows

    def every_version(self, name: str, *, last_of_object: bool = False) -> str:
        tables, relation = self._inputs[name], every_version_of(name, last_of_object)
        rows = " UNION ALL ".join(group_selects(tables) or [no_rows(tables.contract)])
        orphans = f"(SELECT _ROW_ID FROM {name}__left_out WHERE _RULE < 0)"
        etags = [file.landed.etag for file in tables.files]
        self._connection.execute(f"SET VARIABLE {name}__etags = ?::VARCHAR[]", [etags])
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {relation} AS SELECT {sql_names(tables.contract.column_names)}, _SOURCE_URI, "
            f"_SOURCE_MODIFIED_AT, _RESCUED, list_extract(getvariable('{name}__etags'), _FILE + 1) AS _SOURCE_ETAG "
            f"FROM ({rows}) ANTI JOIN {orphans} USING (_ROW_ID)"
            # Without superseded rows every key is there once.
            + (
                f" QUALIFY {last_of_object_condition(tables.contract, tables.newest_first)}"
                if last_of_object and tables.has_left_out_rows
                else ""
            )
        )
        return relation

    def _set_released(self, tables: InputTables) -> None:
        waiting = [index for index, file in enumerate(tables.files) if file.waiting and index not in tables.left_out]
        still_bad = {index: set(broken["record"].tolist()) for index, broken in self._broken(tables, waiting)}
        for index in waiting:
            tables.outcomes[index].released = tuple(
                quarantine_id
                for record, (quarantine_id, _) in enumerate(tables.files[index].waiting)
                if record not in still_bad.get(index, ())
            )

    # --- results -------------------------------------------------------------------------------------------

    def new_rows(self, name: str) -> int:
        return self._scalar(f"SELECT COUNT(*) FROM {sql_name(name)} WHERE _IS_NEW")

    def write(self, select: str, path: Path, form: Literal["csv", "parquet"]) -> _Written:
        # DuckDB ends a row group up to 2,047 rows late. If one exceeds the 122,880 rows of those in DuckDB's tables,
        # the embedded warehouse splits it to load it, and its checkpoint writes the table again to join the parts.
        parquet = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 120000"
        options = "FORMAT csv, HEADER" if form == "csv" else parquet
        # Only reading depends on the order of rows; keeping it costs a third of the time here.
        self._connection.execute("SET preserve_insertion_order = false")
        try:
            with progress(f"Writing {path.name}", "bytes", measure=lambda: path.stat().st_size if path.exists() else 0):
                rows = self._scalar(f"COPY ({transpile(select, 'duckdb')}) TO {quoted(str(path))} ({options})")
        finally:
            self._connection.execute("SET preserve_insertion_order = true")
        return _Written(path, rows)

    def count(self, select: str) -> int:
        return self._scalar(f"SELECT COUNT(*) FROM ({transpile(select, 'duckdb')})")

    def write_lake_table(
        self,
        contract: Contract,
        existing: Callable[[Sequence[str]], Sequence[LakeFile]],
        folder: Path,
        target_bytes: int,
    ) -> LakeTableChanges:
        for relation in ("LAKE_ROWS", "LAKE_REPLACED"):
            rows = f"SELECT * FROM {relation}_{contract.name.upper()}"
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {relation} AS {rows}")
        return write_lake_table(self._connection, contract, existing, folder, target_bytes)

    def outcomes(self, name: str) -> list[FileOutcome]:
        return self._inputs[name].outcomes

    def bad_records(self, name: str) -> Iterator[BadRecord]:
        tables = self._inputs[name]
        yield from (outcome.rejection for outcome in tables.outcomes if outcome.rejection is not None)
        reported = [i for i, outcome in enumerate(tables.outcomes) if outcome.quarantined and i not in tables.left_out]
        for index, broken in self._broken(tables, reported):
            yield from tables.reader.bad_records(tables, index, broken)

    def _broken(self, tables: InputTables, indexes: Sequence[int]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """The bad records of files, ascending, with their rules: 0 is malformed, an orphan's is negative."""
        import numpy as np

        for group in tables.groups:
            files = sorted(set(indexes).intersection(group.files))
            if not files:
                continue
            record = "t.rowid" if group.numbered else "t._RECORD"
            rows = self._connection.execute(
                f"SELECT t._FILE, {record} AS record, rule FROM {group.table} AS t "
                f"JOIN (SELECT {group.identity()} AS _ROW_ID, _FAULT AS rule FROM {group.table} "
                "WHERE _FAULT IS NOT NULL"
                + (
                    f" UNION ALL SELECT _ROW_ID, _RULE FROM {tables.name}__left_out WHERE _RULE < 0"
                    if tables.has_left_out_rows
                    else ""
                )
                + f") AS b ON b._ROW_ID = {group.identity('t.')} WHERE t._FILE IN ({', '.join(map(str, files))})"
            ).fetchnumpy()
            numbers = np.asarray(rows["record"])
            for file in files:
                of_file = rows["_FILE"] == file
                malformed = np.asarray(tables.malformed.get(file, ()), dtype=np.int64)
                records = numbers[of_file]
                if group.numbered:
                    records = numbers_in_file(records - tables.first_row[file], malformed)
                records = np.concatenate((records, malformed))
                rules_broken = np.concatenate((rows["rule"][of_file], np.zeros_like(malformed)))
                order = np.argsort(records)
                yield file, {"record": records[order], "rule": rules_broken[order]}

    def _share(self) -> float:
        """How far the running statement is, from 0 to 1; any thread may ask."""
        return max(0.0, self._connection.query_progress()) / 100

    def _scalar(self, sql: str) -> int:
        row = self._connection.execute(sql).fetchone()
        return row[0] if row else 0
