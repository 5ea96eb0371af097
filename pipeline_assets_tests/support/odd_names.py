"""A small pipeline whose tables and columns have names that need quotes: reserved words, blanks, quotes, semicolons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.contracts.names import sql_name, sql_names
from pipeline_assets.pipeline import CsvExport, History, LakeTable, LandedFiles, Mart, Pipeline, Table
from pipeline_assets_tests.support.small_pipelines import SmallLake, contract

# What the columns and tables would be called, and what they are called.
KEY, PARENT, AMOUNT, DAY, NAME, ID = 'A"B', "X; DROP TABLE Y", "100% `OF` IT", "GROUP", "NAÏVE", "_ID"
ODD = {"KEY": KEY, "PARENT": PARENT, "AMOUNT": AMOUNT, "DAY": DAY, "NAME": NAME, "ID": ID, "LINE": "S.T, U"}
TABLES = {"order": "ORDER", "select": 'FOO "BAR', "seen": "S", "past": "O'PAST.", "totals": "OUTDATED"}


def renamed(plain: Contract, names: Mapping[str, str] = ODD) -> Contract:
    """A contract with other names of its columns and of its table."""

    def name(column: str) -> str:
        return names.get(column, column)

    columns = tuple(
        replace(c, name=name(c.name), reference=c.reference and replace(c.reference, column=name(c.reference.column)))
        for c in plain.columns
    )
    return replace(plain, table=TABLES.get(plain.name, plain.table), columns=columns)


def pipeline(folder: Path) -> Pipeline:
    """Orders refer to records of `select`; every order is kept in `seen`, whose history is `past`."""
    order = ["KEY text key", "PARENT text -> select.ID", "AMOUNT number", "DAY date required", "NAME text personal"]
    lake = ["KEY text together", "NAME text", "DAY date partition"]
    contracts = [
        contract("order", *order),
        contract("select", "ID text key", "LINE text"),
        contract("seen", "KEY text key", "PARENT text", "AMOUNT number", "NAME text"),
        contract("past", "SK text key history:surrogate_key", *_INTERVAL, "KEY text", *_VERSIONS),
        contract("totals", "DAY date key", "AMOUNT number", "ID integer"),
        contract("named", "KEY text key", "NAME text", "LINE text"),
        contract("where", *lake, form="parquet"),
        contract("limit", *lake[1:], form="parquet"),
    ]
    (folder / "sql").mkdir(parents=True)
    for table, select in _SQL.items():
        (folder / "sql" / f"{table}.sql").write_text(f"-- Grain: one row.\n{select}\n", encoding="utf-8")
    return Pipeline(
        "shop",
        "shop-bucket",
        sources=[LandedFiles("order", "in/order/*.csv|in/order/*.parquet"), LandedFiles("select", "in/select/*.csv")],
        tables=[
            Table("order"),
            Table("select"),
            Table("named"),
            Table("seen", write="append"),
            History("past", of="seen"),
            Mart("totals", refresh_by=DAY),
        ],
        exports=[CsvExport("changed", of="order", key="out/{batch_id}.csv")],
        lake_tables=[LakeTable("where"), LakeTable("limit")],
        contracts={made.name: made for made in map(renamed, contracts)},
        folder=folder,
    )


_INTERVAL = (
    "VALID_FROM timestamp history:valid_from",
    "VALID_TO timestamp history:valid_to",
    "IS_CURRENT boolean history:is_current",
)
_VERSIONS = ("AMOUNT number history:version", "NAME text history:overwrite")
_Q: dict[str, str] = {plain: sql_name(odd) for plain, odd in ODD.items()}
_SQL = {
    "seen": 'SELECT O.{KEY}, O.{PARENT}, O.{AMOUNT}, O.{NAME} FROM "ORDER" AS O'.format(**_Q),
    "totals": 'SELECT O.{DAY}, SUM(O.{AMOUNT}) AS {AMOUNT}, COUNT(*) AS {ID} FROM SHOP."ORDER" AS O '
    "GROUP BY O.{DAY}".format(**_Q),
    "named": 'SELECT O.{KEY}, UPPER(O.{NAME}) AS {NAME}, P.{LINE} FROM "ORDER" AS O '
    'LEFT JOIN "SELECT" AS P ON P.{ID} = O.{PARENT}'.format(**_Q),
    "where": 'SELECT O.{KEY}, O.{NAME}, O.{DAY} FROM "ORDER" AS O'.format(**_Q),
    "limit": 'SELECT O.{NAME}, O.{DAY} FROM SHOP."ORDER" AS O'.format(**_Q),
}


def order(key: str, parent: object = 1, amount: object = 1, day: str = "2026-01-01", name: str = "n") -> dict[str, Any]:
    """A record; its header is in small letters, as a database has them."""
    return {KEY.lower(): key, PARENT.lower(): parent, AMOUNT.lower(): amount, DAY.lower(): day, NAME.lower(): name}


def parent(key: object, line: str = "l") -> dict[str, Any]:
    return {ID.lower(): key, ODD["LINE"].lower(): line}


class OddLake(SmallLake):
    """A home of that pipeline."""

    def orders(self, name: str, *records: Mapping[str, Any], at: float) -> None:
        self.csv(f"../order/{name}", *records, at=at)

    def parents(self, name: str, *records: Mapping[str, Any], at: float) -> None:
        self.csv(f"../select/{name}", *records, at=at)

    def cells(self) -> dict[str, list[tuple[str, ...]]]:
        found = {}
        for made in type(self).pipeline().targets:
            rows = self.rows(f"SELECT {sql_names(made.column_names)} FROM {target_table(made).qualified}")
            found[made.name] = sorted(tuple(map(str, row)) for row in rows)
        return found
