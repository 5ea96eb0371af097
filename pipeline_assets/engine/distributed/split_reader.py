"""What one task of a distributed engine does: read a split of a landed file into batches of texts, find raw records.

A split is a file, or a part of a large one that ends where a record ends. The readers are those of the embedded engine,
with DuckDB in process on one thread, so both engines find the same records. The result is a table with the texts C0,
C1, … of the contract's columns; Spark SQL does the typing, rules, versions and joins. Nothing here depends on Spark.
Each split also yields one row with only `_STATISTICS`, facts about the file as JSON. `_RECORD` numbers the rows of a
split from 0, `_SPLIT` the splits of a file in their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import MISTYPED
from pipeline_assets.duckdb_session import duckdb_session, is_disk_full
from pipeline_assets.engine.duckdb import parquet_reader
from pipeline_assets.engine.duckdb.csv_reader import match_file, rescued_json, scan_regular
from pipeline_assets.engine.duckdb.json_reader import open_document, shape_difference, texts_of
from pipeline_assets.engine.formats.csv.byte_scan import copy_without_records, find_records, scan_bytes
from pipeline_assets.engine.formats.csv.dialect import FileDialect, open_as_utf8
from pipeline_assets.engine.formats.csv.lenient_reader import find_records_leniently, read_leniently
from pipeline_assets.engine.formats.csv.replay_file import replay_dialect
from pipeline_assets.engine.formats.json.documents import Layout, parser_message, refuse_cut_off, without_bom
from pipeline_assets.engine.formats.json.record_sql import ITEM_COLUMNS, expected_names, objects, raw_select, scan
from pipeline_assets.engine.formats.parquet.record_sql import records_of, typed_texts
from pipeline_assets.engine.formats.parquet.typed_file import TypedFile, TypedFileOpener
from pipeline_assets.engine.validation_query import Columns
from pipeline_assets.errors import RejectedObjectError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

TYPED = "_TYPED"  # the column of texts: whether the values of a row were typed in its file
_BATCH = 20_000  # rows of a record batch
_SMALL_FILE = 4 << 20
_MEMORY = "1GB"  # limit for DuckDB in a task; it spills to the task's scratch folder


@dataclass(frozen=True)
class FileSplit:
    """A file at `where` (a path, or s3://bucket/key in the version `etag`), or a part of it.

    `file` is its number in the input. A part has the bytes from `start` to `end`, and on to the end of the record at
    `end`; `before` is the number of lines before it, `quoted` whether `start` is inside quotes, and `header` is written
    in front of each part if the file has no header. A `typed` file is Parquet, or replayed records of such a file.
    """

    file: int
    where: str
    number: int = 0
    etag: str = ""
    waiting: int = 0
    size: int = 0
    start: int = 0
    end: int = 0
    before: int = 0
    quoted: bool = False
    header: str = ""
    tolerant: bool = False
    typed: bool = False

    @property
    def is_partial(self) -> bool:
        return self.end > 0

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> FileSplit:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class RawRecord:
    """The text of a bad record; `line` counts from 1, `fault` is the reason if it cannot be split into fields."""

    record: int
    rule: int
    position: int | None
    line: int
    raw: str
    fault: str


class _IrregularPartError(Exception):
    """A part of the file is not regular, so its record ends are unknown; the file must be read as a whole."""


def texts(contract: Contract) -> tuple[str, ...]:
    """The names of the text columns, one per column of the contract."""
    return tuple(f"C{index}" for index in range(len(contract.columns)))


def text_schema(contract: Contract) -> pa.Schema:
    """The schema of the batches that `read` yields."""
    import pyarrow as pa

    fields = [(name, pa.string()) for name in texts(contract)]
    fields += [("_RESCUED", pa.string()), ("_MALFORMED", pa.bool_())]
    fields += [(MISTYPED, pa.int32())] if contract.form == "json" else [(TYPED, pa.bool_())]
    if contract.items:
        fields += [("_ITEMS", pa.list_(_struct([column.path for column in contract.items.columns])))]
        fields += [("_ITEMS_RESCUED", pa.list_(pa.string())), ("_ITEMS_MISTYPED", pa.list_(pa.int32()))]
    fields += [("_FILE", pa.int32()), ("_SPLIT", pa.int32()), ("_RECORD", pa.int64()), ("_STATISTICS", pa.string())]
    return pa.schema(fields)


def read(contract: Contract, split: FileSplit, path: Path, scratch: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a split whose bytes are in the file `path`, and at the end its statistics."""
    schema = text_schema(contract)
    statistics = _statistics_of(split)
    try:
        reader = _read_documents if contract.form == "json" else _read_typed if split.typed else _read_delimited
        for batch in reader(contract, split, path, scratch, statistics):
            yield _completed(batch, schema, split, statistics["read"])
            statistics["read"] += batch.num_rows
    except RejectedObjectError as rejection:
        rows = 0 if split.waiting else rejection.rows
        statistics["rejection"] = {"code": rejection.code, "reason": str(rejection), "rows": rows}
    except _IrregularPartError:
        statistics["irregular"] = True
    yield _as_row(statistics, schema)


def statistics_row(split: FileSplit, schema: pa.Schema, **statistics: Any) -> pa.RecordBatch:
    """The statistics of a split that could not be read at all."""
    return _as_row(_statistics_of(split) | statistics, schema)


def find(
    contract: Contract, split: FileSplit, path: Path, scratch: Path, wanted: Sequence[Mapping[str, Any]], shift: int
) -> Iterator[RawRecord]:
    """Line and text of bad records (`record`, `rule`, `position`) of a split whose bytes are in the file `path`.

    `shift` is added to line numbers there to get those of the whole file.
    """
    ascending = sorted(wanted, key=lambda bad: bad["record"])
    numbers = [bad["record"] for bad in ascending]
    if contract.form == "json":
        with _connection(scratch) as connection:
            document = _document(split, path, scratch)
            assert document is not None  # a file without records has no bad ones
            located = [(line, raw, "") for line, raw in texts_of(connection, *document, numbers)]
    elif split.typed:
        with _connection(scratch) as connection:
            file = _open_typed(connection, contract, split, path, scratch)
            located = list(parquet_reader.find_records(connection, file, numbers))
    else:
        plain, dialect = _open_delimited(contract, split, path, scratch)
        regular = dialect.newline and not split.tolerant and scan_bytes(plain, dialect)
        located = list(
            find_records(plain, numbers, dialect) if regular else find_records_leniently(plain, dialect, numbers)
        )
    for bad, (line, raw, fault) in zip(ascending, located, strict=True):
        yield RawRecord(bad["record"], bad["rule"], bad["position"], line + shift, raw, fault)


def difference(contract: Contract, split: FileSplit, path: Path, scratch: Path, unknown: Sequence[str]) -> str | None:
    """How the shape of a file with too many bad records differs from the contract's, if it does."""
    if contract.form != "json":
        return None
    with _connection(scratch) as connection:
        document = _document(split, path, scratch)
        return shape_difference(connection, contract, *document, unknown) if document else None


# --- delimited files ---------------------------------------------------------------------------------------


def _open_delimited(contract: Contract, split: FileSplit, path: Path, scratch: Path) -> tuple[Path, FileDialect]:
    """The file as UTF-8 with a header; `cut` has written one for parts."""
    declared = replay_dialect(contract.dialect) if split.waiting else contract.dialect
    if split.is_partial:
        declared = replace(declared, header=True)
    return open_as_utf8(path, declared, contract.column_names, scratch / "decompressed.csv")


def _read_delimited(
    contract: Contract, split: FileSplit, path: Path, scratch: Path, statistics: dict[str, Any]
) -> Iterator[pa.RecordBatch]:
    plain, dialect = _open_delimited(contract, split, path, scratch)
    if not dialect.header:
        return
    statistics["header"] = list(dialect.header)
    was_cut_from_header = split.is_partial and not contract.dialect.header and not split.header
    statistics["header_skipped"] = dialect.header_skipped or was_cut_from_header
    columns = match_file(contract, plain, dialect)
    statistics["unknown"], statistics["missing"] = list(columns.unknown), list(columns.missing)
    with _connection(scratch) as connection:
        regular = None
        if not split.tolerant:
            regular = _read_regular(connection, contract, columns, plain, dialect, scratch)
        if regular is not None:
            yield from regular
        elif split.is_partial:
            raise _IrregularPartError
        else:
            yield from _read_tolerant(connection, contract, columns, plain, dialect)


def _read_regular(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    columns: Columns,
    path: Path,
    dialect: FileDialect,
    scratch: Path,
) -> Iterator[pa.RecordBatch] | None:
    """The rows of a regular file, or None if it is not regular; the malformed ones come last."""
    import duckdb
    import numpy as np
    import pyarrow as pa

    bytes_seen = scan_bytes(path, dialect) if dialect.newline else None
    if bytes_seen is None:
        return None
    malformed = np.asarray(bytes_seen.malformed, dtype=np.int64)
    kept_file = copy_without_records(path, bytes_seen.malformed, scratch / "kept.csv") if len(malformed) else path
    relation = scan_regular([kept_file], dialect)
    try:
        # Read all values before the first row is yielded, so that DuckDB's errors are raised here; reading twice costs
        # less than keeping the file in memory.
        values = "".join(f", COUNT(C{index})" for index in range(len(dialect.header)))
        ((counted, *_),) = connection.execute(f"SELECT COUNT(*){values} FROM {relation}").fetchall()
        rescued = f"{rescued_json(columns, contract)} AS _RESCUED"
        kept = connection.sql(_texts_of_row(contract, columns, relation, rescued)).to_arrow_reader(_BATCH)
    except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException):
        return None
    if counted != bytes_seen.records:
        return None

    def rows() -> Iterator[pa.RecordBatch]:
        everything = np.arange(bytes_seen.records + len(malformed), dtype=np.int64)
        records = np.delete(everything, malformed) if len(malformed) else everything
        first = 0
        for batch in kept:
            numbers = pa.array(records[first : first + batch.num_rows])
            yield pa.RecordBatch.from_arrays([*batch.columns, numbers], [*batch.schema.names, "_RECORD"])
            first += batch.num_rows
        broken = pa.table({"_RECORD": malformed, "_MALFORMED": np.ones(len(malformed), dtype=bool)})
        yield from broken.to_batches(_BATCH)

    return rows()


def _read_tolerant(
    connection: duckdb.DuckDBPyConnection, contract: Contract, columns: Columns, path: Path, dialect: FileDialect
) -> Iterator[pa.RecordBatch]:
    """The rows of any file, one record after another."""
    import pyarrow as pa

    names = [f"C{index}" for index in range(len(dialect.header))]
    empty_row = (None,) * len(names)
    schema = pa.schema([(name, pa.string()) for name in names] + [("_RECORD", pa.int64()), ("_MALFORMED", pa.bool_())])
    buffered: list[tuple] = []

    def take_batch() -> pa.RecordBatch:
        arrays = [pa.array(c, f.type) for c, f in zip(zip(*buffered, strict=True), schema, strict=True)]
        RECORDS = pa.Table.from_arrays(arrays, schema=schema)
        rescued = f"{rescued_json(columns, contract)} AS _RESCUED"
        select = _texts_of_row(contract, columns, "RECORDS", rescued, "_RECORD", "_MALFORMED")
        (batch,) = connection.register("RECORDS", RECORDS).sql(select).to_arrow_table().combine_chunks().to_batches()
        return batch

    for record in read_leniently(path, dialect):
        buffered.append((*(record.fields or empty_row), record.number, record.fields is None))
        if len(buffered) == _BATCH:
            yield take_batch()
            buffered.clear()
    if buffered:
        yield take_batch()


def _texts_of_row(contract: Contract, columns: Columns, relation: str, *extra: str) -> str:
    """SELECT the contract's columns as C0, C1, …, in any order of the file, and other expressions."""
    selected = [
        f"r.C{columns.positions[column.name]} AS {text}" if column.name in columns.positions else f"NULL AS {text}"
        for column, text in zip(contract.columns, texts(contract), strict=True)
    ]
    return f"SELECT {', '.join((*selected, *extra))} FROM {relation} AS r"


# --- Parquet -----------------------------------------------------------------------------------------------


def _open_typed(
    connection: duckdb.DuckDBPyConnection, contract: Contract, split: FileSplit, path: Path, scratch: Path
) -> TypedFile:
    return TypedFileOpener(connection).open(path, contract, scratch / "decompressed.parquet", waiting=split.waiting > 0)


def _read_typed(
    contract: Contract, split: FileSplit, path: Path, scratch: Path, statistics: dict[str, Any]
) -> Iterator[pa.RecordBatch]:
    with _connection(scratch) as connection:
        file = _open_typed(connection, contract, split, path, scratch)
        statistics["header"] = list(file.header)
        statistics["unknown"], statistics["missing"] = list(file.matched.unknown), list(file.matched.missing)
        raw = typed_texts(contract, file.matched, file.columns, records_of([file.path], file.columns), 0)
        selected = _texts_of_row(contract, file.matched, f"({raw})", "_RESCUED", "_MALFORMED", f"TRUE AS {TYPED}")
        yield from connection.sql(selected).to_arrow_reader(_BATCH)


# --- documents ---------------------------------------------------------------------------------------------


def _document(split: FileSplit, path: Path, scratch: Path) -> tuple[Path, Layout] | None:
    """The decompressed file and its layout, or None when the file has no records.

    A part always has one record per line, so its layout is not detected; the last part shows if the file was cut off.
    """
    if not split.is_partial:
        return open_document(path, scratch / "decompressed.json", waiting=split.waiting > 0)
    plain = without_bom(path, scratch / "plain.json") if split.start == 0 else path
    if split.end >= split.size:
        refuse_cut_off(plain)
    return (plain, "newline_delimited") if plain.stat().st_size else None


def _read_documents(
    contract: Contract, split: FileSplit, path: Path, scratch: Path, statistics: dict[str, Any]
) -> Iterator[pa.RecordBatch]:
    import duckdb

    document = _document(split, path, scratch)
    if document is None:
        return
    selected = ", ".join(
        (*texts(contract), "_RESCUED", "_MALFORMED", MISTYPED, *(ITEM_COLUMNS if contract.items else ()))
    )
    raw = raw_select(
        contract, scan([document[0]], document[1]), 0, any_case=_may_have_other_case(contract, document[0])
    )
    unknown: set[str] = set()
    with _connection(scratch) as connection:
        try:
            for batch in connection.sql(f"SELECT {selected} FROM ({raw})").to_arrow_reader(_BATCH):
                _add_unknown_keys(contract, batch, unknown)
                yield batch
        # DuckDB's message about bytes that are not UTF-8 raises UnicodeDecodeError.
        except (duckdb.InvalidInputException, duckdb.IOException, UnicodeDecodeError) as error:
            if is_disk_full(error):
                raise
            if not split.waiting:  # replayed records stay in quarantine
                raise RejectedObjectError(
                    f"The JSON is malformed: {parser_message(error)}.",
                    code="unreadable_object",
                    remedy="Deliver the file again.",
                ) from None
    statistics["unknown"] = sorted(unknown)


def _may_have_other_case(contract: Contract, path: Path) -> bool:
    """Whether a small file has a key of the contract in another case; True for a large one, as a look costs more."""
    if path.stat().st_size > _SMALL_FILE:
        return True
    content = path.read_bytes()
    lower = content.lower()
    names = {f'"{step}"'.encode() for name in expected_names(contract) for step in name.replace("[]", "").split(".")}
    return any(lower.count(name.lower()) > content.count(name) for name in names)


def _add_unknown_keys(contract: Contract, batch: pa.RecordBatch, unknown: set[str]) -> None:
    """Add the keys that are not in the contract; keys inside its objects and lists have their path."""
    object_paths = set(objects(contract))
    for text in batch.column("_RESCUED").drop_null().to_pylist():
        unknown.update(_unknown_keys(json.loads(text), (), object_paths))
    if contract.items:
        prefix = f"{'.'.join(contract.items.path)}[]."
        for listed in batch.column("_ITEMS_RESCUED").drop_null().to_pylist():
            unknown.update(prefix + key for text in listed if text for key in json.loads(text))


def _unknown_keys(rescued: Any, path: tuple[str, ...], object_paths: set[tuple[str, ...]]) -> Iterator[str]:
    for key, value in rescued.items():
        if (*path, key) in object_paths and isinstance(value, dict):
            yield from _unknown_keys(value, (*path, key), object_paths)
        elif (*path, key) not in object_paths:
            yield ".".join((*path, key))


# --- helpers -----------------------------------------------------------------------------------------------


def _connection(scratch: Path) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """DuckDB on one thread: other tasks use the other cores, and rows keep the order of the file."""
    return duckdb_session(scratch / "spill", _MEMORY, threads=1)


def _completed(batch: pa.RecordBatch, schema: pa.Schema, split: FileSplit, first: int) -> pa.RecordBatch:
    """A batch with all columns of the schema."""
    import pyarrow as pa

    defaults = {
        "_FILE": pa.repeat(pa.scalar(split.file, pa.int32()), batch.num_rows),
        "_SPLIT": pa.repeat(pa.scalar(split.number, pa.int32()), batch.num_rows),
        "_MALFORMED": pa.repeat(False, batch.num_rows),
        "_RECORD": pa.array(range(first, first + batch.num_rows), pa.int64()),
    }
    columns = {name: batch.column(name) for name in batch.schema.names}
    arrays = []
    for field in schema:
        array = columns.get(field.name, defaults.get(field.name))
        arrays.append(pa.nulls(batch.num_rows, field.type) if array is None else array.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _statistics_of(split: FileSplit) -> dict[str, Any]:
    return {"file": split.file, "split": split.number, "read": 0, "unknown": [], "missing": []}


def _as_row(statistics: dict[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [pa.array([json.dumps(statistics)] if f.name == "_STATISTICS" else [None], f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _struct(paths: Sequence[tuple[str, ...]]) -> pa.DataType:
    """The Arrow struct with a text at each path."""
    import pyarrow as pa

    inner: dict[str, list[tuple[str, ...]]] = {}
    for path in paths:
        inner.setdefault(path[0], []).append(path[1:])
    return pa.struct([(key, _struct(below) if below[0] else pa.string()) for key, below in inner.items()])
