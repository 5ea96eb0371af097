"""Doubles and times with microseconds arrive in the warehouse as they were, on each engine, from CSV and Parquet."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.pipeline import LandedFiles, Pipeline, Table
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets_tests.support.small_pipelines import SmallLake, contract, lake_of

DOUBLES = [0.1, 0.1 + 2**-56, 1e-300, 5e-324, -1.7976931348623157e308, 1e22, 123456789012345680.0, -0.0, 1 / 3, None]
TIMES = [
    datetime.fromisoformat(text)
    for text in (
        "0001-01-01 00:00:00.000001",
        "1582-10-10 12:00:00.500000",
        "1970-01-01 00:00:00",
        "2026-03-29 02:30:00.123456",  # an hour that clocks skip in Berlin
        "9999-12-31 23:59:59.999999",
    )
]
ROWS = [(number, value, TIMES[number % len(TIMES)]) for number, value in enumerate(DOUBLES)]


@cache
def kind() -> type[SmallLake]:
    columns = ("ID integer key", "WEIGHT double", "TAKEN_AT timestamp")
    value = Pipeline(
        "shop",
        "shop-bucket",
        sources=[LandedFiles("goods", "in/*.csv|in/*.parquet")],
        tables=[Table("goods")],
        contracts={"goods": contract("goods", *columns)},
    )
    return lake_of(derive(value))


def parquet(rows: list[tuple]) -> bytes:
    ids, weights, times = zip(*rows, strict=True)
    table = pa.table({"ID": ids, "WEIGHT": pa.array(weights, pa.float64()), "TAKEN_AT": pa.array(times)})
    content = pa.BufferOutputStream()
    pq.write_table(table, content)
    return content.getvalue().to_pybytes()


def text(rows: list[tuple]) -> str:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerows([("ID", "WEIGHT", "TAKEN_AT"), *rows])
    return content.getvalue()


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("engine", ["duckdb", pytest.param("spark", marks=pytest.mark.slow)])
def test_doubles_and_times_are_published_as_they_were(engine: str, form: str, tmp_path: Path) -> None:
    lake = kind().with_tables(tmp_path / "home")
    lake.write(f"goods.{form}", parquet(ROWS) if form == "parquet" else text(ROWS))
    report = lake.run(engine=engine)
    assert report.rows["quarantined"] == 0
    rows = lake.rows("SELECT ID, WEIGHT, TAKEN_AT FROM SHOP.GOODS ORDER BY ID")
    assert list(map(repr, rows)) == list(map(repr, [(type(rows[0][0])(n), w, at) for n, w, at in ROWS]))
    lake.run(engine=engine)  # the columns of the table are those of the contract
    types = lake.rows(
        "SELECT DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'GOODS' AND COLUMN_NAME = 'WEIGHT'"
    )
    assert types == [("FLOAT",)]


@pytest.mark.parametrize("engine", ["duckdb", pytest.param("spark", marks=pytest.mark.slow)])
def test_what_is_no_double_is_quarantined(engine: str, tmp_path: Path) -> None:
    lake = kind().with_tables(tmp_path / "home")
    bad = ["nan", "inf", "-Infinity", "1e400", "1e-400", "1d", "0x1", "1,5"]
    good = [(number, 1.5, TIMES[0]) for number in range(100, 200)]
    lake.write("goods.csv", text([*good, *((number, value, TIMES[0]) for number, value in enumerate(bad))]))
    lake.write("more.parquet", parquet([*good, (300, float("nan"), TIMES[0]), (301, float("inf"), TIMES[0])]))
    assert lake.run(engine=engine).rows["quarantined"] == len(bad) + 2
    assert lake.rows("SELECT DISTINCT REASON_CODE FROM OPS.QUARANTINE") == [("not_a_number",)]
    assert lake.rows("SELECT DISTINCT WEIGHT FROM SHOP.GOODS") == [(1.5,)]
