"""Parquet files from the landing zone to the tables, to quarantine and back: what sessions alone do not show."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_assets.pipeline import LandedFiles, Pipeline, Table
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, pipeline_of

COLUMNS = ["ITEM text key", "NAME text", "PRICE number", "DAY date"]


def value(folder: Path, price: str = "number") -> Pipeline:
    columns = [column.replace("number", price) for column in COLUMNS]  # the table has decimals in any case
    return pipeline_of(
        folder,
        {"landed_items": ("csv", columns), "items": ("table", COLUMNS)},
        {"items": "SELECT L.ITEM, L.NAME, L.PRICE, L.DAY FROM LANDED_ITEMS AS L"},
        sources=[LandedFiles("landed_items", "in/**")],
        tables=[Table("items")],
    )


def land(lake: SmallLake, name: str, table: pa.Table) -> None:
    content = pa.BufferOutputStream()
    pq.write_table(table, content)
    lake.write(name, content.getvalue().to_pybytes())


def test_values_arrive_as_they_are_and_bad_records_are_replayed_as_they_were(tmp_path: Path) -> None:
    lake: SmallLake = lake_of(value(tmp_path / "strict", "integer")).at(tmp_path / "home")
    table = pa.table(
        {
            "item": ["1", "2", "3", "4"],
            "Name": ["", None, " x ", ""],
            "PRICE": pa.array([Decimal("1.00"), Decimal("2.50"), None, Decimal("4.50")], pa.decimal128(9, 2)),
            "day": pa.array([datetime(2026, 1, 2, tzinfo=UTC)] * 3 + [None], pa.timestamp("us", "Europe/Berlin")),
            "more": [None, ["a"], None, [""]],
        }
    )
    land(lake, "a.parquet", table)
    lake.write("b.csv", "ITEM,NAME,PRICE,DAY\n5, y ,5,2026-01-02\n")
    lake.write("c.parquet", "ITEM\n6\n")
    report = lake.run()
    assert report.rows == {"read": 5, "loaded": 3, "superseded": 0, "quarantined": 2}
    assert lake.rows("SELECT STATUS FROM OPS.FILE_LEDGER ORDER BY URI") == [("loaded",), ("loaded",), ("rejected",)]
    names = "SELECT ITEM, NAME, PRICE, DAY FROM SHOP.ITEMS ORDER BY ITEM"
    assert [(item, name) for item, name, *_ in lake.rows(names)] == [("1", ""), ("3", " x "), ("5", "y")]
    waiting = (
        "SELECT LINE_NUMBER, REASON_CODE, RAW_RECORD FROM OPS.QUARANTINE "
        "WHERE RAW_RECORD IS NOT NULL AND CLOSED_AT IS NULL AND REPLAYED_AT IS NULL ORDER BY 1"
    )
    found = [(int(line), code, json.loads(raw, parse_float=str)) for line, code, raw in lake.rows(waiting)]
    assert found == [
        (
            2,
            "not_a_number",
            {"ITEM": "2", "NAME": None, "PRICE": "2.50", "DAY": "2026-01-02 00:00:00+00", "MORE": ["a"]},
        ),
        (4, "not_a_number", {"ITEM": "4", "NAME": "", "PRICE": "4.50", "DAY": None, "MORE": [""]}),
    ]

    mended = resolve(value(tmp_path / "mended"))
    replayed = type("Mended", (type(lake),), {"pipeline": staticmethod(lambda: mended)}).at(lake.home)
    assert replayed.run(replay=True).released == 2
    everything = "SELECT ITEM, NAME, PRICE, DAY, _RESCUED FROM SHOP.ITEMS ORDER BY ITEM"
    found = replayed.rows(everything)
    assert [(row[0], row[1], row[2]) for row in found[1:4:2]] == [
        ("2", None, Decimal("2.5")),
        ("4", "", Decimal("4.5")),
    ]
    replayed.run(reprocess=True)
    assert replayed.rows(everything) == found
    assert replayed.rows(f"SELECT * FROM ({waiting})") == []
