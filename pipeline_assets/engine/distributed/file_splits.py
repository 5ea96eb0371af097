"""What one task of a distributed engine does: turn a split of a landed file into batches of texts, find raw records.

A split is a file, or a part of a large one that ends where a record ends. It is read by the same readers as in the
embedded engine, one thread and DuckDB in process, so both see the same records. What comes out is a table with the
texts C0, C1, … of the contract's columns; typing, rules, versions and joins are SQL, and Spark's. Nothing here knows
Spark.

Each split also gives one row that holds nothing but `_STATISTICS`: what is to be known of the file, as JSON. Rows of a
split count from 0 (`_RECORD`); `_SPLIT` numbers the splits of a file in their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.validation import MISTYPED
from pipeline_assets.engine.duckdb.csv_reader import rescued_json, scan_regular
from pipeline_assets.engine.duckdb.json_reader import open_document, shape_difference, texts_of
from pipeline_assets.engine.formats.csv.byte_scan import copy_without_records, find_records, scan_bytes
from pipeline_assets.engine.formats.csv.dialect import FileDialect, opened
from pipeline_assets.engine.formats.csv.lenient_reader import find_records_leniently, read_leniently
from pipeline_assets.engine.formats.csv.replay_file import waiting_dialect
from pipeline_assets.engine.formats.json.documents import Layout, parser_said, refuse_cut_off, without_mark
from pipeline_assets.engine.formats.json.record_sql import ITEM_COLUMNS, objects, raw_select, scan
from pipeline_assets.engine.validation_query import Columns, match_columns
from pipeline_assets.errors import RejectedObjectError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BATCH = 20_000  # rows that travel together
_MEMORY = "1GB"  # for DuckDB in a task; it spills to the task's scratch folder


@dataclass(frozen=True)
class FileSplit:
    """A file as it lies at `where` (a path, or s3://bucket/key of the version `etag`), or a part of it.

    `file` is its number in the input. A part holds the bytes from `start` to `end`, and on to the end of the record
    that they cut; `before` are the lines in front of it, `quoted` says that `start` lies inside quotes, and `header` is
    put in front of the parts of a file that has none.
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

    @property
    def is_partial(self) -> bool:
        return self.end > 0

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> FileSplit:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Found:
    """A bad record as it stands in its split; `line` counts from 1, `fault` says why it cannot be split."""

    record: int
    rule: int
    position: int | None
    line: int
    raw: str
    fault: str


class _IrregularPartError(Exception):
    """The part of a file is not regular, so nobody knows where its records end; the file is to be read whole."""


def texts(contract: Contract) -> tuple[str, ...]:
    """The names of the text columns, one per column of the contract."""
    return tuple(f"C{index}" for index in range(len(contract.columns)))


def text_schema(contract: Contract) -> pa.Schema:
    """What `read` yields."""
    import pyarrow as pa

    fields = [(name, pa.string()) for name in texts(contract)]
    fields += [("_RESCUED", pa.string()), ("_MALFORMED", pa.bool_())]
    if contract.form == "json":
        fields += [(MISTYPED, pa.int32())]
    if contract.items:
        fields += [("_ITEMS", pa.list_(_struct([column.path for column in contract.items.columns])))]
        fields += [("_ITEMS_RESCUED", pa.list_(pa.string())), ("_ITEMS_MISTYPED", pa.list_(pa.int32()))]
    fields += [("_FILE", pa.int32()), ("_SPLIT", pa.int32()), ("_RECORD", pa.int64()), ("_STATISTICS", pa.string())]
    return pa.schema(fields)


def read(contract: Contract, split: FileSplit, path: Path, scratch: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a split whose bytes lie at `path`, and at the end its statistics."""
    schema = text_schema(contract)
    statistics = _statistics_of(split)
    try:
        reader = _read_documents if contract.form == "json" else _read_delimited
        for batch in reader(contract, split, path, scratch, statistics):
            yield _completed(batch, schema, split, statistics["read"])
            statistics["read"] += batch.num_rows
    except RejectedObjectError as rejection:
        statistics["rejection"] = {"code": rejection.code, "reason": str(rejection)}
    except _IrregularPartError:
        statistics["irregular"] = True
    yield _as_row(statistics, schema)


def statistics_row(split: FileSplit, schema: pa.Schema, **statistics: Any) -> pa.RecordBatch:
    """The statistics of a split that could not be read at all."""
    return _as_row(_statistics_of(split) | statistics, schema)


def find(
    contract: Contract, split: FileSplit, path: Path, scratch: Path, wanted: Sequence[Mapping[str, Any]], shift: int
) -> Iterator[Found]:
    """Line and text of bad records (`record`, `rule`, `position`) of a split whose bytes lie at `path`.

    `shift` is what line numbers there lack to those of the whole file.
    """
    asked = sorted(wanted, key=lambda bad: bad["record"])
    numbers = [bad["record"] for bad in asked]
    if contract.form == "json":
        with _connection(scratch) as connection:
            opened = _document(split, path, scratch)
            assert opened is not None  # a file without records has no bad ones
            found = [(line, raw, "") for line, raw in texts_of(connection, *opened, numbers)]
    else:
        plain, dialect = _opened(contract, split, path, scratch)
        regular = dialect.newline and not split.tolerant and scan_bytes(plain, dialect)
        found = list(
            find_records(plain, numbers, dialect) if regular else find_records_leniently(plain, dialect, numbers)
        )
    for bad, (line, raw, fault) in zip(asked, found, strict=True):
        yield Found(bad["record"], bad["rule"], bad["position"], line + shift, raw, fault)


def difference(contract: Contract, split: FileSplit, path: Path, scratch: Path, unknown: Sequence[str]) -> str | None:
    """How a file full of bad records differs from the contract as a whole."""
    if contract.form != "json":
        return None
    with _connection(scratch) as connection:
        opened = _document(split, path, scratch)
        return shape_difference(connection, contract, *opened, unknown) if opened else None


# --- delimited files ---------------------------------------------------------------------------------------


def _opened(contract: Contract, split: FileSplit, path: Path, scratch: Path) -> tuple[Path, FileDialect]:
    """The file as UTF-8 with a header. A part has got one when it was cut."""
    declared = waiting_dialect(contract.dialect) if split.waiting else contract.dialect
    if split.is_partial:
        declared = replace(declared, header=True)
    return opened(path, declared, contract.column_names, scratch / "decompressed.csv")


def _read_delimited(
    contract: Contract, split: FileSplit, path: Path, scratch: Path, statistics: dict[str, Any]
) -> Iterator[pa.RecordBatch]:
    plain, dialect = _opened(contract, split, path, scratch)
    if not dialect.header:
        return
    statistics["header"] = list(dialect.header)
    was_cut_from_header = split.is_partial and not contract.dialect.header and not split.header
    statistics["header_skipped"] = dialect.header_skipped or was_cut_from_header
    columns = match_columns(contract, dialect.header)
    statistics["unknown"], statistics["missing"] = list(columns.unknown), list(columns.missing)
    with _connection(scratch) as connection:
        regular = None
        if not split.tolerant:
            regular = _regular(connection, contract, columns, plain, dialect, scratch)
        if regular is not None:
            yield from regular
        elif split.is_partial:
            raise _IrregularPartError
        else:
            yield from _tolerant(connection, contract, columns, plain, dialect)


def _regular(
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    columns: Columns,
    path: Path,
    dialect: FileDialect,
    scratch: Path,
) -> Iterator[pa.RecordBatch] | None:
    """The rows of a regular file, or None when it is none; the malformed ones come last."""
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
        # All values are looked at before the first row goes out, so that what DuckDB refuses is refused here; a second
        # look costs less than a file in memory.
        values = "".join(f", COUNT(C{index})" for index in range(len(dialect.header)))
        ((counted, *_),) = connection.execute(f"SELECT COUNT(*){values} FROM {relation}").fetchall()
        kept = connection.sql(_texts_of_row(contract, columns, relation)).to_arrow_reader(_BATCH)
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


def _tolerant(
    connection: duckdb.DuckDBPyConnection, contract: Contract, columns: Columns, path: Path, dialect: FileDialect
) -> Iterator[pa.RecordBatch]:
    """The rows of any file, one record after another."""
    import pyarrow as pa

    names = [f"C{index}" for index in range(len(dialect.header))]
    nothing = (None,) * len(names)
    schema = pa.schema([(name, pa.string()) for name in names] + [("_RECORD", pa.int64()), ("_MALFORMED", pa.bool_())])
    waiting: list[tuple] = []

    def shown() -> pa.RecordBatch:
        arrays = [pa.array(c, f.type) for c, f in zip(zip(*waiting, strict=True), schema, strict=True)]
        RECORDS = pa.Table.from_arrays(arrays, schema=schema)
        select = _texts_of_row(contract, columns, "RECORDS", "_RECORD", "_MALFORMED")
        (batch,) = connection.register("RECORDS", RECORDS).sql(select).to_arrow_table().combine_chunks().to_batches()
        return batch

    for record in read_leniently(path, dialect):
        waiting.append((*(record.fields or nothing), record.number, record.fields is None))
        if len(waiting) == _BATCH:
            yield shown()
            waiting.clear()
    if waiting:
        yield shown()


def _texts_of_row(contract: Contract, columns: Columns, relation: str, *extra: str) -> str:
    """The contract's columns as C0, C1, …, whatever the order in the file, and what it does not know as JSON."""
    shown = [
        f"r.C{columns.positions[column.name]} AS {text}" if column.name in columns.positions else f"NULL AS {text}"
        for column, text in zip(contract.columns, texts(contract), strict=True)
    ]
    return (
        f"SELECT {', '.join((*shown, f'{rescued_json(columns, contract)} AS _RESCUED', *extra))} FROM {relation} AS r"
    )


# --- documents ---------------------------------------------------------------------------------------------


def _document(split: FileSplit, path: Path, scratch: Path) -> tuple[Path, Layout] | None:
    """The file decompressed and its layout, or None when nothing is in it.

    A part is one record a line, which its first lines cannot tell; whether the file was cut off, its last part can.
    """
    if not split.is_partial:
        return open_document(path, scratch / "decompressed.json", waiting=split.waiting > 0)
    plain = without_mark(path, scratch / "plain.json") if split.start == 0 else path
    if split.end >= split.size:
        refuse_cut_off(plain)
    return (plain, "newline_delimited") if plain.stat().st_size else None


def _read_documents(
    contract: Contract, split: FileSplit, path: Path, scratch: Path, statistics: dict[str, Any]
) -> Iterator[pa.RecordBatch]:
    import duckdb

    opened = _document(split, path, scratch)
    if opened is None:
        return
    shown = ", ".join((*texts(contract), "_RESCUED", "_MALFORMED", MISTYPED, *(ITEM_COLUMNS if contract.items else ())))
    raw = raw_select(contract, scan([opened[0]], opened[1]), 0)
    unknown: set[str] = set()
    with _connection(scratch) as connection:
        try:
            for batch in connection.sql(f"SELECT {shown} FROM ({raw})").to_arrow_reader(_BATCH):
                _note_unknown(contract, batch, unknown)
                yield batch
        # A message about bytes that are no UTF-8 comes as an error of its own.
        except (duckdb.InvalidInputException, duckdb.IOException, UnicodeDecodeError) as error:
            if not split.waiting:  # records that cannot be reported apart keep waiting
                raise RejectedObjectError(
                    f"The JSON is malformed: {parser_said(error)}.",
                    code="unreadable_object",
                    remedy="Deliver the file again.",
                ) from None
    statistics["unknown"] = sorted(unknown)


def _note_unknown(contract: Contract, batch: pa.RecordBatch, unknown: set[str]) -> None:
    """Add the keys that the contract does not know, those inside its objects and lists with their path."""
    known = set(objects(contract))
    for text in batch.column("_RESCUED").drop_null().to_pylist():
        unknown.update(_unknown_keys(json.loads(text), (), known))
    if contract.items:
        prefix = f"{'.'.join(contract.items.path)}[]."
        for listed in batch.column("_ITEMS_RESCUED").drop_null().to_pylist():
            unknown.update(prefix + key for text in listed if text for key in json.loads(text))


def _unknown_keys(rescued: Any, path: tuple[str, ...], known: set[tuple[str, ...]]) -> Iterator[str]:
    for key, value in rescued.items():
        if (*path, key) in known and isinstance(value, dict):
            yield from _unknown_keys(value, (*path, key), known)
        elif (*path, key) not in known:
            yield ".".join((*path, key))


# --- helpers -----------------------------------------------------------------------------------------------


@contextmanager
def _connection(scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB on one thread: the tasks beside this one have the other cores, and rows keep the order of the file."""
    import duckdb

    config = {"memory_limit": _MEMORY, "threads": 1, "temp_directory": str(scratch / "spill")}
    with duckdb.connect(":memory:", config=config) as connection:
        yield connection


def _completed(batch: pa.RecordBatch, schema: pa.Schema, split: FileSplit, first: int) -> pa.RecordBatch:
    """A batch with all columns of the schema."""
    import pyarrow as pa

    own = {
        "_FILE": pa.repeat(pa.scalar(split.file, pa.int32()), batch.num_rows),
        "_SPLIT": pa.repeat(pa.scalar(split.number, pa.int32()), batch.num_rows),
        "_MALFORMED": pa.repeat(False, batch.num_rows),
        "_RECORD": pa.array(range(first, first + batch.num_rows), pa.int64()),
    }
    given = {name: batch.column(name) for name in batch.schema.names}
    arrays = []
    for field in schema:
        array = given.get(field.name, own.get(field.name))
        arrays.append(pa.nulls(batch.num_rows, field.type) if array is None else array.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _statistics_of(split: FileSplit) -> dict[str, Any]:
    return {"file": split.file, "split": split.number, "read": 0, "unknown": [], "missing": []}


def _as_row(statistics: dict[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = [pa.array([json.dumps(statistics)] if f.name == "_STATISTICS" else [None], f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _struct(paths: Sequence[tuple[str, ...]]) -> pa.DataType:
    """An object with texts at some paths."""
    import pyarrow as pa

    inner: dict[str, list[tuple[str, ...]]] = {}
    for path in paths:
        inner.setdefault(path[0], []).append(path[1:])
    return pa.struct([(key, _struct(below) if below[0] else pa.string()) for key, below in inner.items()])
