"""A small pipeline with a slowly changing dimension of items, and its history in plain Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from pipeline_assets.orchestration.checks import checks_of
from pipeline_assets.pipeline import History, LandedFiles, Mart, Pipeline, Table
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, later, pipeline_of, temporary

ITEMS = ["SHOP text key", "ITEM text key", "PRICE number", "NAME text", "PICTURE text", "GONE boolean"]
VERSIONS = [*ITEMS[:-1], "GONE boolean history:deleted"]
DIM = [
    "ITEM_SK text key history:surrogate_key",
    "SHOP text required",
    "ITEM text required",
    "PRICE number history:version",
    "NAME text history:version",
    "PICTURE text history:overwrite",
    "VALID_FROM timestamp required history:valid_from",
    "VALID_TO timestamp history:valid_to",
    "IS_CURRENT boolean required history:is_current",
]
CONTRACTS = {
    "items": ("table", ITEMS),
    "item_versions": ("table", VERSIONS),
    "dim_item": ("table", DIM),
    "items_by_price": ("table", ["PRICE number", "ITEMS integer"]),
}
SQL = {
    "item_versions": f"SELECT {', '.join(f'ITEMS.{column.split()[0]}' for column in ITEMS)} FROM ITEMS",
    "items_by_price": "SELECT D.PRICE, COUNT(*) AS ITEMS FROM SHOP.DIM_ITEM AS D WHERE D.IS_CURRENT GROUP BY D.PRICE",
}
TABLES = [
    Mart("items_by_price", refresh_by="PRICE"),
    History("dim_item", of="item_versions"),
    Table("items"),
    Table("item_versions", write="append"),
]


def value(
    folder: Path, contracts: Mapping[str, tuple] = CONTRACTS, sql: Mapping[str, str] = SQL, **changes: Any
) -> Pipeline:
    declared = {"sources": [LandedFiles("items", "in/*.csv")], "tables": TABLES} | changes
    return pipeline_of(folder, contracts, sql, **declared)


@cache
def kind() -> type[SmallLake]:
    return lake_of(value(temporary()))


def item(price: object, name: str = "n", picture: str = "p", gone: str = "", item: str = "i", shop: str = "s") -> dict:
    return {"SHOP": shop, "ITEM": item, "PRICE": price, "NAME": name, "PICTURE": picture, "GONE": gone}


def history(lake: SmallLake, columns: str = "PRICE, NAME, PICTURE") -> list[tuple]:
    """Rows as (values, hour of VALID_FROM, hour of VALID_TO, IS_CURRENT), in the order of their key and time."""
    rows = lake.rows(f"SELECT {columns}, VALID_FROM, VALID_TO, IS_CURRENT FROM SHOP.DIM_ITEM ORDER BY ITEM, VALID_FROM")
    return [(*(v if v is None else str(v) for v in row[:-3]), *map(_hour, row[-3:-1]), row[-1]) for row in rows]


def _hour(time: datetime | None) -> float | None:
    return time and (time - later(0).replace(tzinfo=None)).total_seconds() / 3600


def prices(lake: SmallLake) -> list[tuple]:
    return history(lake, "CAST(PRICE AS INTEGER)")


@dataclass(frozen=True)
class Delivered:
    """A file: its hour and its records; a deletion is a record without values."""

    name: str
    hour: int
    records: tuple[tuple[str, int | None, str, str, bool], ...]  # item, price, name, picture, gone


def expected(files: Iterable[Delivered]) -> list[tuple]:
    """The history in plain Python: all observations of a key in order, runs of equal values in one row."""
    rows: list[tuple] = []
    ordered = sorted(files, key=lambda file: (file.hour, file.name))
    for key in sorted({record[0] for file in ordered for record in file.records}):
        at: dict[int, tuple] = {}
        for file in ordered:
            for record in file.records:  # the last of a file counts
                if record[0] == key:
                    at[file.hour] = record
        picture = next((record[3] for record in reversed(at.values()) if not record[4]), None)
        run: list[Any] | None = None
        for hour, (_, price, name, _, gone) in sorted(at.items()):
            if run and not gone and run[1:3] == [price, name]:
                continue
            if run:
                rows.append((*run, hour, False))
            run = None if gone else [key, price, name, picture, hour]
        if run:
            rows.append((*run, None, True))
    return rows


def found(lake: SmallLake) -> list[tuple]:
    rows = history(lake, "ITEM, PRICE, NAME, PICTURE")
    return [(key, price and int(float(price)), *rest) for key, price, *rest in rows]


def deliver(lake: SmallLake, file: Delivered) -> None:
    records = [
        item(*(("", "", "") if gone else ("" if price is None else price, name, picture)), gone=str(gone), item=key)
        for key, price, name, picture, gone in file.records
    ]
    lake.csv(file.name, *records, at=file.hour)


def broken(lake: SmallLake) -> list[str]:
    """The checks of the history and the mart over it that fail."""
    pipeline = type(lake).pipeline()
    checks = [
        check for check in checks_of(pipeline, 24) if check.spec.asset_key.path[-1] in ("dim_item", "items_by_price")
    ]
    with lake.platform.warehouse.read_only() as transaction:
        return [check.spec.name for check in checks if not check.evaluate(transaction, lake.platform).passed]
