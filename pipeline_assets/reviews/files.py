"""Write the file of an extract: Parquet, or CSV."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# Of a row group of Parquet, which is in memory until it is written.
_GROUP_ROWS, _GROUP_BYTES = 100_000, 32_000_000
_SAMPLE_ROWS = 10_000
_PLAIN_DIGITS = 6  # behind the point; Arrow writes decimals with more of them with an exponent


def write_file(path: Path, batches: Iterable[pa.RecordBatch]) -> str:
    """Write rows as Parquet (zstd), or as CSV if the path ends so; returns the SHA-256 of the file in hexadecimal.

    Without rows there is no file. CSV is RFC 4180; NULL is an empty field, empty text is "".
    """
    is_csv = path.suffix == ".csv"
    groups = _groups(batches)
    if is_csv:
        groups = map(_with_plain_decimals, groups)
    first = next(groups, None)
    digest = hashlib.sha256()
    if first is not None:
        with _open(path, first, is_csv) as file, path.open("rb") as written:
            for group in chain([first], groups):
                file.write_table(group)
                digest.update(written.read())  # here rather than at the end: reading rows takes longer than writing
            file.close()
            digest.update(written.read())
    return digest.hexdigest()


def _open(path: Path, first: pa.Table, is_csv: bool) -> Any:
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    if is_csv:
        return pc.CSVWriter(path, first.schema, write_options=pc.WriteOptions(quoting_style="needed"))
    return pq.ParquetWriter(path, first.schema, compression="zstd", use_dictionary=_repeating_columns(first))


def _repeating_columns(rows: pa.Table) -> list[str]:
    """The columns whose values repeat; a dictionary of others costs a third of the time and makes files larger."""
    import pyarrow.compute as pc

    sample = rows.slice(0, _SAMPLE_ROWS)
    return [name for name in sample.column_names if pc.count_distinct(sample[name]).as_py() * 2 <= sample.num_rows]


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def _with_plain_decimals(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    for position, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale > _PLAIN_DIGITS:
            texts = [None if value is None else format(value, "f") for value in table[position].to_pylist()]
            table = table.set_column(position, field.name, pa.array(texts, pa.string()))
    return table
