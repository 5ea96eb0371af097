"""Read files of records in columns, delimited ones and Parquet, each by the reader of its format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.engine.duckdb.csv_reader import DelimitedReader
from pipeline_assets.engine.duckdb.inputs import InputTables
from pipeline_assets.engine.duckdb.parquet_reader import ParquetReader
from pipeline_assets.engine.formats.parquet.typed_file import is_typed
from pipeline_assets.engine.interface import BadRecord, SourceFile

if TYPE_CHECKING:
    import duckdb
    import numpy as np


class TabularReader:
    """See `pipeline_assets.engine.duckdb.inputs.Reader`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._delimited = DelimitedReader(connection, scratch)
        self._parquet = ParquetReader(connection, scratch)

    def read(self, tables: InputTables, files: list[SourceFile]) -> None:
        typed = [is_typed(file, tables.contract) for file in files]
        self._delimited.read(tables, [file for file, is_parquet in zip(files, typed, strict=True) if not is_parquet])
        if any(typed):
            self._parquet.read(tables, [file for file, is_parquet in zip(files, typed, strict=True) if is_parquet])

    def bad_records(self, tables: InputTables, index: int, broken: dict[str, np.ndarray]) -> Iterator[BadRecord]:
        reader = self._parquet if self._parquet.reads(index) else self._delimited
        return reader.bad_records(tables, index, broken)

    def other_shape(self, tables: InputTables, index: int) -> str | None:
        return None  # a file without a required column has been rejected already
