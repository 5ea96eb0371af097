"""Every mistake in a value, its contracts or its SELECTs is one error that names the place and says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline import Archive, CsvExport, LakeTable, LandedFiles, ListColumn, Mart, Pipeline, Step, Table
from pipeline_assets.pipeline.resolve import resolve, split_pattern
from pipeline_assets_tests.support.small_pipelines import pipeline_of

CONTRACTS: dict[str, tuple[Any, ...]] = {
    "buyers": ("csv", ["BUYER_ID text key", "NAME text"]),
    "bills": ("csv", ["BILL_ID text key", "BUYER_ID text -> buyers.BUYER_ID", "NOTE text"]),
    "orders": (
        "json",
        ["ORDER_ID text key", "DAY date", "NOTE text"],
        {"items": {"LINES": ["SKU text", "PRICE number"]}},
    ),
    "headers": ("table", ["ORDER_ID text key", "DAY date"]),
    "billed": ("table", ["BILL_ID text key", "BUYER_ID text", "NAME text"]),
    "lines": ("table", ["ORDER_ID text key", "LINE integer key", "SKU text"]),
    "daily": ("table", ["DAY date", "ORDERS integer"]),
    "weekly": ("table", ["DAY date", "ORDERS integer"]),
    "files": ("parquet", ["ORDER_ID text together", "SKU text", "DAY date partition"]),
    "log": ("csv", ["AT text", "TEXT text"]),
    "noted": ("table", ["AT text", "TEXT text"]),
}
JOIN = "INNER JOIN BUYERS ON BILLS.BUYER_ID = BUYERS.BUYER_ID"
SQL = {
    "headers": "SELECT ORDERS.ORDER_ID, ORDERS.DAY FROM ORDERS",
    "billed": f"SELECT BILLS.BILL_ID, BILLS.BUYER_ID, BUYERS.NAME FROM BILLS {JOIN}",
    "lines": "SELECT ORDERS_LINES.ORDER_ID, ORDERS_LINES._POSITION AS LINE, ORDERS_LINES.SKU FROM ORDERS_LINES",
    "daily": "SELECT H.DAY, COUNT(*) AS ORDERS FROM SHOP.HEADERS AS H GROUP BY H.DAY",
    "weekly": "SELECT D.DAY, SUM(D.ORDERS) AS ORDERS FROM SHOP.DAILY AS D GROUP BY D.DAY",
    "files": "SELECT ORDERS_LINES.ORDER_ID, ORDERS_LINES.SKU, ORDERS_LINES.DAY FROM ORDERS_LINES",
    "noted": "SELECT LOG.AT, LOG.TEXT FROM LOG",
}
VALUE: dict[str, list[Any]] = {
    "sources": [
        LandedFiles("bills", "in/bills*.csv"),
        LandedFiles("buyers", "in/buyers*.csv"),
        LandedFiles("orders", "in/orders*.json"),
    ],
    "tables": [
        Table("headers"),
        Table("lines"),
        Table("billed"),
        Table("buyers"),
        Mart("daily", refresh_by="DAY"),
        Mart("weekly", refresh="full"),
    ],
    "exports": [CsvExport("headers_csv", of="headers", key="out/headers_{batch_id}.csv")],
    "lake_tables": [LakeTable("files")],
}


def value(folder: Path, *, sql: dict[str, str] | None = None, contracts: dict | None = None, **more: Any) -> Pipeline:
    return pipeline_of(folder, CONTRACTS | (contracts or {}), SQL | (sql or {}), **(VALUE | more))


def plus(kind: str, *more: Any) -> dict[str, Any]:
    return {kind: [*VALUE[kind], *more]}


def swap(kind: str, name: str, *new: Any) -> dict[str, Any]:
    return {kind: [e for entry in VALUE[kind] for e in (new if entry.name == name else (entry,))]}


def bills(*columns: str) -> dict[str, Any]:
    return {"contracts": {"bills": ("csv", list(columns))}}


def copied(select: str, day: str = "DAY date required") -> dict[str, Any]:
    """The lake table `files` as a copy of the table `headers`."""
    return {
        "contracts": {
            "headers": ("table", ["ORDER_ID text key", day, "NOTE text"]),
            "files": ("parquet", ["ORDER_ID text", "DAY date partition"]),
        },
        "sql": {"headers": SQL["headers"].replace(" FROM", ", ORDERS.NOTE FROM"), "files": select},
    }


COPY = "SELECT H.ORDER_ID, H.DAY FROM SHOP.HEADERS AS H"
LOG = LandedFiles("log", "in/log*.csv")


def test_the_pipeline_without_a_mistake_resolves(tmp_path: Path) -> None:
    pipeline = resolve(value(tmp_path))
    assert [source.name for source in pipeline.sources] == ["buyers", "bills", "orders"]
    assert [mart.contract.name for mart in pipeline.marts] == ["daily", "weekly"]
    assert {name: p.table.contract.name for name, p in pipeline.published.items()} == {
        "buyers": "buyers",
        "bills": "billed",
        "orders": "headers",
    }


def test_a_lake_table_may_copy_a_table(tmp_path: Path) -> None:
    pipeline = resolve(value(tmp_path, **copied(COPY)))
    assert [copy.contract.name for copy in pipeline.lake_copies] == ["files"]
    assert pipeline.lake_outputs == ()


@pytest.mark.parametrize(
    ("more", "copies"),
    [
        ({"sql": {"files": SQL["files"] + " -- the lines come from shop. Nothing else"}}, 0),
        (copied(COPY.replace("SHOP", "shop")), 1),
        (copied(COPY.replace("FROM", "FROM -- finished ones, too\n")), 1),
    ],
)
def test_a_lake_table_copies_a_table_if_its_select_reads_one(more: dict[str, Any], copies: int, tmp_path: Path) -> None:
    """Whatever its comments say."""
    assert len(resolve(value(tmp_path, **more)).lake_copies) == copies


# What is wrong, and what the message has to say, in this order.
MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    # sources
    "a source that no table reads": (
        plus("sources", LOG),
        ["no table is made from log", "Add Table('log'), or leave the source out"],
    ),
    # the SELECT and its contract
    "a column forgotten": (
        {"sql": {"headers": SQL["headers"].replace(", ORDERS.DAY", "")}},
        ["sql/shop/headers.sql does not select DAY", "contract headers", "Change the SELECT or the contract"],
    ),
    "a column too many": (
        {"sql": {"headers": SQL["headers"].replace(" FROM", ", ORDERS.NOTE FROM")}},
        ["sql/shop/headers.sql selects NOTE", "contract headers"],
    ),
    "a column that the source lacks": (
        {"sql": {"headers": SQL["headers"].replace("ORDERS.DAY", "ORDERS.DAYS AS DAY")}},
        ["sql/shop/headers.sql", "DAYS"],
    ),
    "an unknown relation": (
        {"sql": {"lines": SQL["lines"].replace("ORDERS_LINES", "ORDER_LINES")}},
        ["sql/shop/lines.sql reads ORDER_LINES", "It has", "ORDERS_LINES", "named with its schema"],
    ),
    "a star": ({"sql": {"headers": "SELECT * FROM ORDERS"}}, ["sql/shop/headers.sql selects *", "Name its columns"]),
    "two kinds of relations": (
        {"sql": {"daily": "SELECT H.DAY, COUNT(*) AS ORDERS FROM SHOP.HEADERS AS H, ORDERS GROUP BY H.DAY"}},
        ["sql/shop/daily.sql reads", "ORDERS, which this pipeline does not have", "It has SHOP.HEADERS"],
    ),
    "a table made from tables": (
        {"sql": {"headers": "SELECT ORDER_ID, DAY FROM SHOP.HEADERS"}},
        ["sql/shop/headers.sql reads SHOP.HEADERS", "It has BUYERS, BILLS, ORDERS"],
    ),
    "a key that is an expression": (
        {"sql": {"headers": SQL["headers"].replace("ORDERS.ORDER_ID", "UPPER(ORDERS.ORDER_ID) AS ORDER_ID")}},
        ["sql/shop/headers.sql: the key of headers", "ORDER_ID is an expression", "Select the key columns as they are"],
    ),
    "a key of another source": (
        {"sql": {"billed": SQL["billed"].replace("BILLS.BILL_ID", "BUYERS.BUYER_ID AS BILL_ID")}},
        ["shop: no table keeps the newest version of each record of bills", "one row per BILL_ID"],
    ),
    "no SQL": ({"sql": {"headers": "DELETE FROM ORDERS"}}, ["sql/shop/headers.sql is not a SELECT"]),
    "broken SQL": ({"sql": {"headers": "SELECT FROM WHERE"}}, ["sql/shop/headers.sql"]),
    "no SQL file": (plus("tables", Table("log_of_all")) | {}, ["log_of_all.yaml"]),
    "a join without a relationship": (
        bills("BILL_ID text key", "BUYER_ID text", "NOTE text"),
        ["sql/shop/billed.sql joins bills with buyers without a relationship", "contract bills", "to: buyers."],
    ),
    "a join on another column": (
        {"sql": {"billed": SQL["billed"].replace("ON BILLS.BUYER_ID", "ON BILLS.BILL_ID")}},
        ["sql/shop/billed.sql joins bills with buyers without a relationship"],
    ),
    # references
    "a reference to no source": (
        bills("BILL_ID text key", "BUYER_ID text -> people.BUYER_ID", "NOTE text"),
        ["bills.BUYER_ID refers to people, which is not a source of shop", "Its sources are bills, buyers, orders"],
    ),
    "a reference to a column that is no key": (
        bills("BILL_ID text key", "BUYER_ID text -> buyers.NAME", "NOTE text"),
        ["bills.BUYER_ID refers to buyers.NAME, which is not its key", "The key of buyers is BUYER_ID"],
    ),
    "references in a circle": (
        {"contracts": {"buyers": ("csv", ["BUYER_ID text key", "NAME text -> bills.BILL_ID"])}},
        ["bills -> buyers -> bills", "circle"],
    ),
    # marts
    "no refresh_by": (
        swap("tables", "daily", Mart("daily")),
        ["sql/shop/daily.sql: the mart daily does not say", "Set refresh_by to some of DAY"],
    ),
    "a wrong refresh_by": (
        swap("tables", "daily", Mart("daily", refresh_by="ORDERS")),
        ["sql/shop/daily.sql: refresh_by of daily names ORDERS", "Use DAY, or refresh='full'"],
    ),
    "refresh_by and a full refresh": (
        swap("tables", "daily", Mart("daily", refresh_by="DAY", refresh="full")),
        ["sql/shop/daily.sql: the mart daily has refresh_by and refresh='full'"],
    ),
    "marts in a circle": (
        {"sql": {"daily": SQL["weekly"].replace("DAILY", "WEEKLY")}},
        ["daily -> weekly -> daily", "circle"],
    ),
    "a mart of landed files": (
        swap("tables", "lines", Mart("lines", refresh="full")),
        ["sql/shop/lines.sql reads ORDERS_LINES, which", "It has SHOP.HEADERS", "named with its schema"],
    ),
    # exports
    "an export of an unknown table": (
        plus("exports", CsvExport("other", of="header", key="o/{batch_id}")),
        ["shop: the export other is of 'header'", "It has headers"],
    ),
    "an export of a list": (
        plus("exports", CsvExport("other", of="lines", key="o/{batch_id}")),
        ["shop: the export other is of 'lines'", "not an upsert table with one row per record"],
    ),
    "an export key without the batch": (
        plus("exports", CsvExport("other", of="headers", key="o/{started_at}.csv")),
        ["shop: the key 'o/{started_at}.csv' of the export other", "Write {batch_id} into it"],
    ),
    "an export key with a typing error": (
        plus("exports", CsvExport("other", of="headers", key="o/{batch_id}_{at}.csv")),
        ["shop: the key 'o/{batch_id}_{at}.csv' of the export other", "{started_at} is known"],
    ),
    # what it writes and where files land
    "an export into the landing zone": (
        plus("exports", CsvExport("other", of="headers", key="in/{batch_id}.csv")),
        ["shop writes other to shop-bucket/in/{batch_id}.csv", "lands in shop-bucket/in/", "folder of its own"],
    ),
    "a lake table into the landing zone": (
        {"lake_tables": [LakeTable("files", prefix="in/files")]},
        ["shop writes files to shop-bucket/in/files/"],
    ),
    "landing in a lake table": (
        swap("sources", "buyers", LandedFiles("buyers", "files/new/*.csv")),
        ["shop writes files to shop-bucket/files/", "buyers lands in shop-bucket/files/new/"],
    ),
    "landing in the staging prefix": (
        swap("sources", "buyers", LandedFiles("buyers", "staging/shop/**/*.csv")),
        ["shop writes staging to shop-bucket/staging/", "buyers lands in shop-bucket/staging/shop/"],
    ),
    # names
    "two sources with one name": (
        plus("sources", LandedFiles("orders", "more/*.json")),
        ["The pipeline 'shop' lists orders twice", "One source has one name"],
    ),
    "two tables with one name": (plus("tables", Table("headers")), ["The pipeline 'shop' lists headers twice"]),
    "a table and an export with one name": (
        plus("exports", CsvExport("lines", of="headers", key="o/{batch_id}")),
        ["The pipeline 'shop' lists lines twice"],
    ),
    "a name with a capital": (plus("sources", LandedFiles("Log", "in/log*")), ["'shop'", "Log", "small letters"]),
    "a pipeline with no usable name": ({"name": "Shop"}, ["The pipeline 'Shop' has no usable name"]),
    "a contract of another pipeline": ({"name": "mall"}, []),
    "one physicalName in two contracts": (
        {"contracts": {"lines": ("table", CONTRACTS["lines"][1], {"table": "HEADERS"})}},
        ["The pipeline 'shop': headers and lines have the same table, HEADERS", "another physicalName"],
    ),
    "a source named like a list": (
        plus("sources", LandedFiles("orders_lines", "in/lines*"))
        | {"contracts": {"orders_lines": ("csv", ["SKU text key"])}},
        ["The pipeline 'shop': ", "have the same relation, ORDERS_LINES", "Rename one"],
    ),
    # versions
    "an unknown version column": (
        swap("sources", "buyers", LandedFiles("buyers", "in/b*", version="AT")),
        ["shop: buyers has no column AT to order versions by"],
    ),
    "a version column that is not published": (
        swap("sources", "orders", LandedFiles("orders", "in/o*", version="NOTE")),
        ["sql/shop/headers.sql: NOTE orders the versions of orders", "not published in headers", "as it is"],
    ),
    # write modes
    "no key": (
        plus("sources", LOG) | plus("tables", Table("noted")),
        ["a table with write mode upsert needs a key", "primaryKey", "append"],
    ),
    "a misspelt write mode": (
        swap("tables", "billed", Table("billed", write="upsrt")),  # type: ignore[arg-type]
        ["shop: write='upsrt' of billed", "upsert, append, append_distinct, full_refresh"],
    ),
    "a misspelt refresh": (
        swap("tables", "weekly", Mart("weekly", refresh="ful")),  # type: ignore[arg-type]
        ["shop: refresh='ful' of weekly", "touched, full"],
    ),
    "a misspelt phase": (
        {"steps": [Step("extrct", print)]},  # type: ignore[arg-type]
        ["shop: phase='extrct' of a step", "extract, arrive, publish, promote"],
    ),
    "an appended join": (
        swap("tables", "billed", Table("billed", write="append")),
        ["sql/shop/billed.sql: a table with write mode append must read the records of one source alone"],
    ),
    "an appended list": (
        swap("tables", "lines", Table("lines", write="append")),
        ["sql/shop/lines.sql: a table with write mode append"],
    ),
    "an appended table with a key that its source does not have": (
        plus("sources", LOG)
        | plus("tables", Table("noted", write="append"))
        | {"contracts": {"noted": ("table", ["AT text key", "TEXT text"])}},
        ["sql/shop/noted.sql: the key of noted is AT, but the key of log is none", "primaryKey"],
    ),
    # published rows
    "a source without a table of its own": (
        {"tables": [t for t in VALUE["tables"] if t.name != "buyers"]},
        ["shop: no table keeps the newest version of each record of buyers", "Table('buyers')"],
    ),
    "a parent that is checked and kept nowhere": (
        swap("tables", "billed", Table("bills")) | {"tables": [Table("headers"), Table("bills")], "lake_tables": []},
        [
            "shop: no table keeps the newest version of each record of buyers, so bills would miss it",
            "Table('buyers')",
        ],
    ),
    "a source whose only table is filtered": (
        swap("tables", "buyers", Table("buyers", filtered=True)),
        ["no table keeps the newest version of each record of buyers", "not filtered"],
    ),
    "a column read and not published": (
        {"sql": {"billed": SQL["billed"].replace("BUYERS.NAME", "COALESCE(BILLS.NOTE, BUYERS.NAME) AS NAME")}},
        ["sql/shop/billed.sql reads BILLS.NOTE, which billed does not publish", "Select them as they are"],
    ),
    "a list of records that are written again": (
        {
            "contracts": {
                "orders": (
                    "json",
                    ["ORDER_ID text key", "DAY date", "BUYER_ID text -> buyers.BUYER_ID", "NOTE text"],
                    {"items": {"LINES": ["SKU text"]}},
                ),
                "headers": ("table", ["ORDER_ID text key", "DAY date", "BUYER_ID text"]),
            },
            "sql": {
                "headers": SQL["headers"].replace(" FROM", ", ORDERS.BUYER_ID FROM"),
                "lines": SQL["lines"].replace("ORDERS_LINES.SKU", "BUYERS.NAME AS SKU")
                + " INNER JOIN BUYERS ON ORDERS_LINES.BUYER_ID = BUYERS.BUYER_ID",
            },
        },
        ["sql/shop/lines.sql reads the list of orders", "buyers changes", "published rows have no list"],
    ),
    "a partition that is not published": (
        {"sql": {"files": SQL["files"].replace("ORDERS_LINES.DAY", "CAST(ORDERS_LINES.NOTE AS DATE) AS DAY")}},
        ["sql/shop/files.sql: DAY decides the folder of a row", "as it is, here and in sql/shop/headers.sql"],
    ),
    "a table that lacks the key of its record": (
        {
            "contracts": {"lines": ("table", ["LINE integer key", "SKU text"])},
            "sql": {"lines": SQL["lines"].replace("ORDERS_LINES.ORDER_ID, ", "")},
        },
        ["sql/shop/lines.sql: lines lacks ORDER_ID, the key of orders", "Select ORDERS.ORDER_ID"],
    ),
    "a form that cannot land": (
        plus("sources", LandedFiles("files", "in/f*")),
        ["files: landed files are csv or json, not parquet"],
    ),
    "a lake table of another form": (
        {"lake_tables": [LakeTable("noted")]},
        ["noted: physicalType is table", "parquet"],
    ),
    # objects that are moved
    "moved objects that land in no landing folder": (
        swap("sources", "buyers", LandedFiles("buyers", "in/buyers*.csv", moved=True)),
        ["shop: the objects of buyers are moved, but lie in in/", "a folder whose name is landing, below another"],
    ),
    "moved objects that land in the landing folder of a bucket": (
        swap("sources", "buyers", LandedFiles("buyers", "landing/*.csv", moved=True)),
        ["shop: the objects of buyers are moved, but lie in landing/", "below another folder"],
    ),
    "landing where the objects of another source are moved to": (
        swap("sources", "buyers", LandedFiles("buyers", "in/landing/*.csv", moved=True)),
        ["shop writes buyers to shop-bucket/in/processing/", "bills lands in shop-bucket/in/", "folder of its own"],
    ),
    "landing where the members of archives are stored": (
        swap("sources", "buyers", LandedFiles("buyers", "zipped/*.zip", archive=Archive("shop-bucket", "in/x/", list))),
        ["shop writes buyers to shop-bucket/in/x/", "lands in shop-bucket/in/", "folder of its own"],
    ),
    "a list in what is no archive": (
        plus("sources", ListColumn("buyers_list", of="buyers", column="NAME"))
        | {"contracts": {"buyers_list": ("csv", ["WISH text key"])}},
        ["shop: buyers_list is a list in 'buyers', which is not a source of archives"],
    ),
    "a list in a column that is not there": (
        {
            "sources": [
                LandedFiles("bills", "in/bills*.csv"),
                LandedFiles("orders", "in/orders*.json"),
                LandedFiles("buyers", "zipped/*.zip", archive=Archive("other-bucket", "x/", list)),
                ListColumn("buyers_list", of="buyers", column="WISHES"),
            ],
            "contracts": {"buyers_list": ("csv", ["WISH text key"])},
        },
        ["shop: buyers_list is the list 'WISHES' of buyers", "The columns of buyers are"],
    ),
    "the batch in a table that upserts": (
        {"sql": {"headers": SQL["headers"].replace("ORDERS.DAY", "ORDERS.DAY, ORDERS._BATCH_ID AS BATCH")}}
        | {"contracts": {"headers": ("table", ["ORDER_ID text key", "DAY date", "BATCH text"])}},
        ["sql/shop/headers.sql reads _BATCH_ID, which only a table with write mode append may do", "Leave it out"],
    ),
    # lake tables over tables
    "an exact number in a lake table of landed files": (
        {"contracts": {"files": ("parquet", ["ORDER_ID text together", "PRICE decimal", "DAY date partition"])}}
        | {"sql": {"files": SQL["files"].replace("SKU", "PRICE")}},
        ["files: PRICE is DECIMAL, which only a lake table over tables may have", "Use DOUBLE, or SELECT from a table"],
    ),
    "a copy of some rows": (copied(COPY + " WHERE H.NOTE = 'x'"), ["sql/shop/files.sql: a lake table over tables"]),
    "a copy of two tables": (
        copied(COPY + " INNER JOIN SHOP.LINES AS L ON L.ORDER_ID = H.ORDER_ID"),
        ["sql/shop/files.sql: a lake table over tables must have every row of one table", "Make a mart of the rest"],
    ),
    "a copy with an expression as its partition": (
        copied(COPY.replace("H.DAY", "CAST(H.DAY AS VARCHAR) AS DAY")),
        ["sql/shop/files.sql: a lake table over tables", "repeat a column of it as DAY"],
    ),
    "a copy with a partition that may be NULL": (
        copied(COPY, day="DAY date"),
        ["sql/shop/files.sql: DAY may be NULL and names the folder of a row", "Make it required in headers"],
    ),
    "a copy with the platform's own column as its partition": (
        copied(COPY.replace("H.DAY", "H._SOURCE_MODIFIED_AT AS DAY")),
        ["sql/shop/files.sql: a lake table over tables", "repeat a column of it as DAY"],
    ),
    "a copy of a table that the pipeline does not have": (
        copied(COPY.replace("SHOP.HEADERS", "SHOP.OTHERS")),
        ["sql/shop/files.sql reads SHOP.OTHERS, which this pipeline does not have", "SHOP.DAILY"],
    ),
    # patterns
    "a pattern without a folder": (
        swap("sources", "buyers", LandedFiles("buyers", "*.csv")),
        ["'*.csv' has no folder", "folder of their own"],
    ),
    "alternatives in two folders": (
        swap("sources", "buyers", LandedFiles("buyers", "in/a/*.csv|in/b/*.csv")),
        ["'in/a/*.csv|in/b/*.csv': the alternatives lie in in/a and in/b", "one folder, or make them two sources"],
    ),
    "an empty alternative": (swap("sources", "buyers", LandedFiles("buyers", "in/*.csv|")), ["'in/*.csv|'"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_an_error_with_its_place_and_a_remedy(mistake: str, tmp_path: Path) -> None:
    more, said = MISTAKES[mistake]
    made = value(tmp_path, **more)
    if mistake == "a contract of another pipeline":
        value(tmp_path)  # the contracts are of `shop` again
        said = ["bills.yaml: name and domain are bills and shop", "Set them to"]
    with pytest.raises(ConfigurationError) as error:
        resolve(made)
    assert re.search(".*?".join(map(re.escape, said)), str(error.value))


@pytest.mark.parametrize(
    ("pattern", "prefix", "names"),
    [
        ("in/*.csv", "in/", "*.csv|*.csv.gz"),
        ("in/**/*.json|in/**/*.ndjson", "in/", "**/*.json|**/*.ndjson|**/*.json.gz|**/*.ndjson.gz"),
        ("in/a*.csv|in/a*.csv.gz", "in/", "a*.csv|a*.csv.gz"),
        ("in/deep/a.csv.gz", "in/deep/", "a.csv.gz"),
    ],
)
def test_a_pattern_matches_packed_files_as_well(pattern: str, prefix: str, names: str) -> None:
    assert split_pattern(pattern) == (prefix, names)
