"""A pipeline from a Parquet file has the types that the file states, and loads every value of it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.new.create import create
from pipeline_assets.new.propose import propose
from pipeline_assets.new.sample import read_sample
from pipeline_assets_tests.support.checkout import copy_checkout, lake_of, tree

COLUMNS = {
    "shop_id": (pa.array([7, 8, 9], pa.int64()), "VARCHAR(64)"),
    "visits": (pa.array([1, None, 2**63 - 1], pa.int64()), "NUMBER(19,0)"),
    "seats": (pa.array([0, 255, 3], pa.uint8()), "NUMBER(3,0)"),
    "turnover": (pa.array([Decimal("1.50"), None, Decimal("-99.99")], pa.decimal128(12, 2)), "NUMBER(12,2)"),
    "ratio": (pa.array([0.1, 1e-9, None], pa.float64()), "FLOAT"),
    "is_open": (pa.array([True, False, None]), "BOOLEAN"),
    "opened": (pa.array([date(2024, 2, 29), None, date(1999, 1, 1)]), "DATE"),
    "seen": (pa.array([10**15, None, 0], pa.timestamp("us")), "TIMESTAMP_NTZ(6)"),
    "sent": (
        pa.array([datetime(2024, 1, 1, 10, tzinfo=UTC), None, None], pa.timestamp("us", "Europe/Berlin")),
        "TIMESTAMP_NTZ(6)",
    ),
    "note": (pa.array(["2024-01-01", " x ", None]), "VARCHAR(64)"),
    "tags": (pa.array([["a", "b"], [], None]), "VARCHAR(64)"),
}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "shops.parquet"
    pq.write_table(pa.table({name: values for name, (values, _) in COLUMNS.items()}), path)
    return path


def test_the_types_are_those_of_the_file_and_identifiers_are_text(sample: Path) -> None:
    shape = propose(read_sample(sample, None), "shops", ())
    assert {p.name.lower(): p.column.physical_type for p in shape.columns} == {n: t for n, (_, t) in COLUMNS.items()}
    assert shape.key == ("SHOP_ID",)


def test_files_like_the_sample_are_loaded(sample: Path, tmp_path: Path) -> None:
    root, said = copy_checkout(tmp_path / "copy"), []
    landing = create(root, "shops", sample, (), None, said.append)
    assert landing == "shops-source/incoming/shops.parquet"
    assert "3 of 3 records of the sample pass." in said
    lake = lake_of(root, "shops", tmp_path / "value").at(tmp_path / "home")
    lake.write("a.parquet", sample.read_bytes())
    assert lake.run().rows == {"read": 3, "loaded": 3, "superseded": 0, "quarantined": 0}
    assert lake.rows("SELECT SHOP_ID, VISITS, TURNOVER, RATIO, TO_VARCHAR(SENT) FROM SHOPS.SHOPS ORDER BY SHOP_ID") == [
        ("7", 1, Decimal("1.50"), 0.1, "2024-01-01 10:00:00"),
        ("8", None, None, 1e-9, None),
        ("9", 2**63 - 1, Decimal("-99.99"), None, None),
    ]


@pytest.mark.parametrize(
    ("table", "form", "message"),
    [
        ({"a": []}, None, "has no rows"),
        ({"a b": [1]}, None, "'A B', which cannot be a column name"),
        ({"a": [1], "A": [1]}, None, "more than once"),
        (None, None, "not a Parquet file"),
        ({"a": [1]}, "csv", "looks like Parquet"),
    ],
    ids=["empty", "name", "twice", "damaged", "form"],
)
def test_what_cannot_be_a_sample_is_refused(tmp_path: Path, table: dict | None, form: str | None, message: str) -> None:
    path = tmp_path / "sample.parquet"
    path.write_bytes(b"a,b\n1,2\n") if table is None else pq.write_table(pa.table(table), path)
    before = tree(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        read_sample(path, form)
    assert tree(tmp_path) == before
