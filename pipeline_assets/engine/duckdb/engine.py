"""The embedded engine: DuckDB in process, spilling to the session's scratch folder.

A session keeps its inputs as temporary tables, one per group of files; how files become groups is in the readers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline_assets.contracts import Contract
from pipeline_assets.engine.duckdb.csv_reader import DelimitedReader
from pipeline_assets.engine.duckdb.inputs import GROUP, PUBLISHED, Input, quoted
from pipeline_assets.engine.duckdb.json_reader import DocumentReader
from pipeline_assets.engine.file_sets import CODE, rejected_with_set, rejection_with
from pipeline_assets.engine.formats.json.record_sql import ITEM_COLUMNS, items_select, no_items
from pipeline_assets.engine.interface import (
    BadRecord,
    FileOutcome,
    LakeFile,
    LakeTableChanges,
    RejectPolicy,
    SourceFile,
)
from pipeline_assets.engine.lake_table_writer import write_lake_table
from pipeline_assets.engine.validation_query import referring
from pipeline_assets.engine.versions import Delivery, every_version_of, newest_delivery, newest_first
from pipeline_assets.errors import EngineError
from pipeline_assets.lake.objects import as_utc_naive
from pipeline_assets.sqlfiles import transpile

if TYPE_CHECKING:
    import duckdb
    import numpy as np


@dataclass(frozen=True)
class _Written:
    """See `pipeline_assets.engine.interface.Written`; this engine has written it already."""

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
        config: dict = {"memory_limit": self.memory_limit, "temp_directory": str(scratch / "spill")}
        if self.threads:
            config["threads"] = self.threads
        connection = duckdb.connect(":memory:", config=config)
        try:
            yield DuckDBSession(connection, scratch, policy)
        except duckdb.OutOfMemoryException as error:
            raise EngineError(
                f"The engine needs more than {self.memory_limit} of memory or the disk is full: "
                f"{str(error).splitlines()[0]}.",
                remedy="Raise PIPELINE_MEMORY_LIMIT, lower PIPELINE_ENGINE_THREADS, or free disk space.",
            ) from None
        finally:
            connection.close()


class DuckDBSession:
    """See `pipeline_assets.engine.interface.Session`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path, policy: RejectPolicy) -> None:
        self._connection = connection
        self._scratch = scratch
        self._policy = policy
        self._inputs: dict[str, Input] = {}

    # --- reading -------------------------------------------------------------------------------------------

    def read(self, name: str, contract: Contract, files: Sequence[SourceFile]) -> None:
        reader = DocumentReader if contract.form == "json" else DelimitedReader
        entry = self._inputs[name] = Input(name, contract, reader(self._connection, self._scratch))
        entry.reader.read(entry, list(files))
        self._reject(entry)
        self._set_lists(entry, files)
        self._reject_file_sets()
        self._show(entry)

    def _reject(self, entry: Input) -> None:
        """Leave the rows of files out that are bad as a whole."""
        rejected = []
        for index, (file, outcome) in enumerate(zip(entry.files, entry.outcomes, strict=True)):
            if file.waiting and outcome.read != len(file.waiting):
                # One record swallowed others, so ids and records do not belong together: all of them keep waiting.
                outcome.read = outcome.quarantined = len(file.waiting)
                entry.left_out.add(index)
            elif not file.waiting and self._policy.rejects(outcome.read, outcome.quarantined):
                rejected.append(index)
        for index, broken in self._broken(entry, rejected):
            outcome = entry.outcomes[index]
            reported = islice(entry.reader.bad_records(entry, index, broken), 3)
            difference = entry.reader.other_shape(entry, index)
            outcome.rejection = self._policy.rejection(
                outcome.landed, outcome.read, outcome.quarantined, difference, reported
            )
        for index in rejected:
            entry.outcomes[index].quarantined = entry.outcomes[index].read
            entry.left_out.add(index)

    def _reject_file_sets(self) -> None:
        """Leave the rows of files out of whose file_set another file is rejected, in whatever input."""
        file_sets = []
        for name, entry in self._inputs.items():
            for index in sorted(range(len(entry.files)), key=entry.turns.__getitem__):
                file, rejection = entry.files[index], entry.outcomes[index].rejection
                rejected = rejection is not None and rejection.code != CODE
                file_sets.append(((name, index), "" if file.waiting else file.file_set, rejected))
        for (name, index), (other, cause) in rejected_with_set(file_sets).items():
            entry, rejection = self._inputs[name], self._inputs[other].outcomes[cause].rejection
            outcome = entry.outcomes[index]
            if outcome.rejection is None:
                assert rejection is not None
                assert not entry.settled, f"{name} was settled before all files of its file_sets were read"
                outcome.rejection = rejection_with(outcome.landed, rejection)
                outcome.quarantined = outcome.read
                entry.left_out.add(index)
                self._show(entry)

    def _set_lists(self, entry: Input, given: Sequence[SourceFile]) -> None:
        # Readers put files into groups; what wins must not depend on that, nor differ from the other engines.
        turns = {id(file): turn for turn, file in enumerate(sorted(given, key=lambda file: not file.waiting))}
        entry.turns = [turns[id(file)] for file in entry.files]
        landed = [file.landed for file in entry.files]
        for name, kind, values in (
            ("turns", "INTEGER", entry.turns),
            ("uris", "VARCHAR", [found.uri for found in landed]),
            ("modified", "TIMESTAMP", [as_utc_naive(found.modified) for found in landed]),
        ):
            self._connection.execute(f"SET VARIABLE {entry.name}__{name} = ?::{kind}[]", [values])

    # --- known rows, versions, references -------------------------------------------------------------------

    def add_published(self, name: str, select: str) -> None:
        entry = self._inputs[name]
        columns = ", ".join(entry.contract.column_names)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name}__known AS "
            f"SELECT {columns}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED FROM ({transpile(select, 'duckdb')})"
        )
        entry.has_published = bool(self._scalar(f"SELECT COUNT(*) FROM {name}__known"))
        self._show(entry)

    def table(self, name: str, path: Path) -> None:
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM read_parquet({quoted(str(path))})"
        )

    def view(self, name: str, select: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {transpile(select, 'duckdb')}")

    def deduplicate(self, name: str, *, version: str = "", snapshot: bool = False) -> None:
        entry = self._inputs[name]
        order = newest_first(entry.contract, version)
        # _RULE is negative for an orphan, by the number of its reference, and NULL for a superseded row.
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name}__aside (_ID BIGINT, _FILE INTEGER, _RULE INTEGER)"
        )
        self._quarantine_orphans(entry)
        if snapshot:
            self._keep_newest_delivery(entry)
        self._keep_newest(entry, order)
        if entry.has_orphans:
            self._count_superseded(entry)
        for outcome in entry.outcomes:
            outcome.loaded = outcome.read - outcome.quarantined - outcome.superseded
        self._note_released(entry)
        entry.settled = True

    def _quarantine_orphans(self, entry: Input) -> None:
        for number, column in enumerate(referring(entry.contract), 1):
            assert column.reference is not None
            if column.reference.on_missing == "load":
                continue
            self._leave_out(
                entry,
                f"SELECT _ID, _FILE, -{number} FROM ({self._rows(entry)}) AS b "
                f"WHERE _IS_NEW AND b.{column.name} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "
                f"{column.reference.dataset} AS r WHERE r.{column.reference.column} = b.{column.name})",
            )
        for file, orphans in self._connection.execute(
            f"SELECT _FILE, COUNT(*) FROM {entry.name}__aside GROUP BY _FILE"
        ).fetchall():
            entry.outcomes[file].quarantined += orphans

    def _keep_newest_delivery(self, entry: Input) -> None:
        """Of several complete deliveries keep the newest; see `deduplicate`."""
        accepted = {
            index: Delivery(
                as_utc_naive(file.landed.modified),
                file.landed.uri,
                file.landed.etag,
                "" if file.waiting else file.file_set,
                bool(file.waiting),
                entry.turns[index],
            )
            for index, file in enumerate(entry.files)
            if entry.outcomes[index].rejection is None
        }
        published = None
        if entry.has_published:
            published = self._connection.execute(
                f"SELECT _SOURCE_MODIFIED_AT, _SOURCE_URI FROM {entry.name}__known "
                "WHERE _SOURCE_MODIFIED_AT IS NOT NULL AND _SOURCE_URI IS NOT NULL ORDER BY ALL DESC LIMIT 1"
            ).fetchone()
        newest = newest_delivery(accepted, published)
        kept = ", ".join(map(str, sorted(newest.files))) or "-1"
        self._leave_out(
            entry,
            f"SELECT _ID, _FILE, NULL FROM ({self._rows(entry)}) "
            f"WHERE CASE WHEN _IS_NEW THEN _FILE NOT IN ({kept}) ELSE {not newest.published} END",
        )

    def _keep_newest(self, entry: Input, order: str) -> None:
        """Of several versions of a key keep the newest; cheap when there are none, the common case."""
        key = ", ".join(entry.contract.key)
        if not key:
            return
        rows, keys = self._connection.execute(
            f"SELECT COUNT(*), COUNT(DISTINCT HASH({key})) FROM {entry.name}"
        ).fetchone()  # type: ignore[misc]
        if rows == keys:
            return
        self._leave_out(
            entry,
            f"SELECT _ID, _FILE, NULL FROM ({self._rows(entry)}) "
            f"SEMI JOIN (SELECT {key} FROM {entry.name} GROUP BY {key} HAVING COUNT(*) > 1) USING ({key}) "
            f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {key} ORDER BY {order}, "
            f"list_extract(getvariable('{entry.name}__turns'), _FILE + 1) DESC, _ID DESC) > 1",
        )

    def _count_superseded(self, entry: Input) -> None:
        for file, losers in self._connection.execute(
            f"SELECT _FILE, COUNT(*) FROM {entry.name}__aside WHERE _RULE IS NULL AND _FILE IS NOT NULL GROUP BY _FILE"
        ).fetchall():
            entry.outcomes[file].superseded += losers

    def _leave_out(self, entry: Input, select: str) -> None:
        """Take the rows of a SELECT (_ID, _FILE, _RULE) out of an input."""
        (rows,) = self._connection.execute(f"INSERT INTO {entry.name}__aside {select}").fetchone()  # type: ignore[misc]
        if rows:
            entry.has_orphans = True
            self._show(entry)

    def _rows(self, entry: Input) -> str:
        """The good rows of an input that are not set aside, with their identity, known ones included."""
        parts, items = self._new_rows(entry), entry.contract.items
        if entry.has_published:
            parts.append(
                f"SELECT {', '.join(entry.contract.column_names)}, _SOURCE_URI, _SOURCE_MODIFIED_AT, _RESCUED, "
                f"FALSE AS _IS_NEW, {PUBLISHED * GROUP} + rowid AS _ID, NULL::INTEGER AS _FILE"
                f"{no_items(items) if items else ''} FROM {entry.name}__known"
            )
        rows = " UNION ALL ".join(parts or [_no_rows(entry.contract)])
        return f"SELECT * FROM ({rows}) ANTI JOIN {entry.name}__aside USING (_ID)" if entry.has_orphans else rows

    def _new_rows(self, entry: Input) -> list[str]:
        """For each group of files a SELECT of its good rows."""
        columns, parts = ", ".join(entry.contract.column_names), []
        listed = "".join(f", {name}" for name in ITEM_COLUMNS) if entry.contract.items else ""
        for group in entry.groups:
            left_out = sorted(entry.left_out.intersection(group.files))
            conditions = ["_FAULT IS NULL"] * group.has_faults
            conditions += [f"_FILE NOT IN ({', '.join(map(str, left_out))})"] if left_out else []
            parts.append(
                f"SELECT {columns}, list_extract(getvariable('{entry.name}__uris'), _FILE + 1) AS _SOURCE_URI, "
                f"list_extract(getvariable('{entry.name}__modified'), _FILE + 1) AS _SOURCE_MODIFIED_AT, "
                f"{'_RESCUED' if group.has_rescued else 'NULL::VARCHAR AS _RESCUED'}, "
                f"TRUE AS _IS_NEW, {group.identity()} AS _ID, _FILE{listed} FROM {group.table}"
                + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
            )
        return parts

    def _show(self, entry: Input) -> None:
        """(Re)define the relations that SELECTs see."""
        items, rows = entry.contract.items, self._rows(entry)
        hidden = ", ".join(("_ID", "_FILE", *(ITEM_COLUMNS if items else ())))
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {entry.name} AS SELECT * EXCLUDE ({hidden}) FROM ({rows})"
        )
        if items:
            kept = (*entry.contract.column_names, "_SOURCE_URI", "_SOURCE_MODIFIED_AT", "_IS_NEW")
            self._connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {items.name} AS SELECT * EXCLUDE (_FAULT) "
                f"FROM ({items_select(items, rows, kept)})"
            )

    def every_version(self, name: str) -> str:
        entry, relation = self._inputs[name], every_version_of(name)
        rows = " UNION ALL ".join(self._new_rows(entry) or [_no_rows(entry.contract)])
        orphans = f"(SELECT _ID FROM {name}__aside WHERE _RULE < 0)"
        etags = [file.landed.etag for file in entry.files]
        self._connection.execute(f"SET VARIABLE {name}__etags = ?::VARCHAR[]", [etags])
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {relation} AS SELECT {', '.join(entry.contract.column_names)}, _SOURCE_URI, "
            f"_SOURCE_MODIFIED_AT, _RESCUED, list_extract(getvariable('{name}__etags'), _FILE + 1) AS _SOURCE_ETAG "
            f"FROM ({rows}) ANTI JOIN {orphans} USING (_ID)"
        )
        return relation

    def _note_released(self, entry: Input) -> None:
        waiting = [index for index, file in enumerate(entry.files) if file.waiting and index not in entry.left_out]
        still = {index: set(broken["record"].tolist()) for index, broken in self._broken(entry, waiting)}
        for index in waiting:
            entry.outcomes[index].released = tuple(
                quarantine_id
                for record, (quarantine_id, _) in enumerate(entry.files[index].waiting)
                if record not in still.get(index, ())
            )

    # --- results -------------------------------------------------------------------------------------------

    def new_rows(self, name: str) -> int:
        return self._scalar(f"SELECT COUNT(*) FROM {name} WHERE _IS_NEW")

    def write(self, select: str, path: Path, form: Literal["csv", "parquet"]) -> _Written:
        options = "FORMAT csv, HEADER" if form == "csv" else "FORMAT parquet, COMPRESSION zstd"
        # Only reading counts on the order of rows; keeping it costs a third of the time here.
        self._connection.execute("SET preserve_insertion_order = false")
        try:
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
            made = f"SELECT * FROM {relation}_{contract.table}"
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {relation} AS {made}")
        return write_lake_table(self._connection, contract, existing, folder, target_bytes)

    def outcomes(self, name: str) -> list[FileOutcome]:
        return self._inputs[name].outcomes

    def bad_records(self, name: str) -> Iterator[BadRecord]:
        entry = self._inputs[name]
        yield from (outcome.rejection for outcome in entry.outcomes if outcome.rejection is not None)
        reported = [i for i, outcome in enumerate(entry.outcomes) if outcome.quarantined and i not in entry.left_out]
        for index, broken in self._broken(entry, reported):
            yield from entry.reader.bad_records(entry, index, broken)

    def _broken(self, entry: Input, indexes: Sequence[int]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """For each of some files its bad records, ascending, and their rules: 0 is malformed, negative an orphan's."""
        import numpy as np

        for group in entry.groups:
            files = sorted(set(indexes).intersection(group.files))
            if not files:
                continue
            record = "t.rowid" if group.numbered else "t._RECORD"
            found = self._connection.execute(
                f"SELECT t._FILE, {record} AS record, rule FROM {group.table} AS t "
                f"JOIN (SELECT {group.identity()} AS _ID, _FAULT AS rule FROM {group.table} WHERE _FAULT IS NOT NULL"
                + (
                    f" UNION ALL SELECT _ID, _RULE FROM {entry.name}__aside WHERE _RULE < 0"
                    if entry.has_orphans
                    else ""
                )
                + f") AS b ON b._ID = {group.identity('t.')} WHERE t._FILE IN ({', '.join(map(str, files))})"
            ).fetchnumpy()
            for file in files:
                mine = found["_FILE"] == file
                malformed = np.asarray(entry.malformed.get(file, ()), dtype=np.int64)
                records = found["record"][mine]
                if group.numbered:
                    records = _numbers_in_file(records - entry.first_row[file], malformed)
                records = np.concatenate((records, malformed))
                rules_broken = np.concatenate((found["rule"][mine], np.zeros_like(malformed)))
                order = np.argsort(records)
                yield file, {"record": records[order], "rule": rules_broken[order]}

    def _scalar(self, sql: str) -> int:
        row = self._connection.execute(sql).fetchone()
        return row[0] if row else 0


def _no_rows(contract: Contract) -> str:
    """What `_rows` of an input without any looks like."""
    columns = ", ".join(f"CAST(NULL AS {column.physical_type}) AS {column.name}" for column in contract.columns)
    return (
        f"{transpile(f'SELECT {columns}', 'duckdb')}, NULL::VARCHAR AS _SOURCE_URI, NULL::TIMESTAMP AS "
        "_SOURCE_MODIFIED_AT, NULL::VARCHAR AS _RESCUED, NULL::BOOLEAN AS _IS_NEW, NULL::BIGINT AS _ID, "
        f"NULL::INTEGER AS _FILE{no_items(contract.items) if contract.items else ''} WHERE FALSE"
    )


def _numbers_in_file(kept: np.ndarray, malformed: np.ndarray) -> np.ndarray:
    """The record numbers in the file of rows that were counted without its malformed records."""
    import numpy as np

    return kept + np.searchsorted(malformed - np.arange(len(malformed)), kept, side="right")
