"""The files of extracts."""

from __future__ import annotations

import hashlib
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.reviews.files import write_file

ROWS = 1_000
_UNIQUE = {
    "number": pa.array(range(ROWS), pa.uint64()),
    "text": pa.array([f"text {number}" for number in range(ROWS)]),
    "amount": pa.array([Decimal(number).scaleb(-2) for number in range(ROWS)], pa.decimal128(38, 2)),
    "long_amount": pa.array([Decimal(number) for number in range(ROWS)], pa.decimal256(60, 0)),
    "bytes": pa.array([str(number).encode() for number in range(ROWS)]),
    "moment": pa.array([datetime(2026, 1, 1, 0, number // 60, number % 60) for number in range(ROWS)]),  # noqa: DTZ001
    "ratio": pa.array([number / 7 for number in range(ROWS)]),
}
_REPEATING = {
    "few": pa.array([f"author {number % 9}" for number in range(ROWS)]),
    "day": pa.array([date(2026, 1, 1 + number % 5) for number in range(ROWS)]),
    "flag": pa.array([number % 2 == 0 for number in range(ROWS)]),
    "empty": pa.array([None] * ROWS, pa.string()),
}


def test_only_columns_whose_values_repeat_have_a_dictionary(tmp_path: Path) -> None:
    rows = pa.record_batch({**_UNIQUE, **_REPEATING})
    write_file(tmp_path / "rows.parquet", [rows.slice(0, 600), rows.slice(600)])

    file = pq.ParquetFile(tmp_path / "rows.parquet")
    assert file.read().to_batches()[0].to_pydict() == rows.to_pydict()
    columns = [file.metadata.row_group(0).column(position) for position in range(file.metadata.num_columns)]
    dictionaries = {column.path_in_schema for column in columns if column.has_dictionary_page}
    assert dictionaries == _REPEATING.keys() - {"flag"}  # Parquet has none of booleans


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_the_digest_is_that_of_the_whole_file(tmp_path: Path, name: str) -> None:
    texts = pa.array([f"text {number}" for number in range(90_000)])
    rows = pa.record_batch({"number": pa.array(range(90_000)), "text": texts})
    digest = write_file(tmp_path / name, [rows, rows, rows])  # of two row groups
    assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_no_rows_make_no_file(tmp_path: Path) -> None:
    write_file(tmp_path / "rows.parquet", [])
    assert not list(tmp_path.iterdir())
