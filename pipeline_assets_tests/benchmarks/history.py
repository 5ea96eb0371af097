"""Histories: changes of keys that have a history already, published with it, and the same rebuild by plain DuckDB.

Both start from the same observations, two of each key, and their history. One CSV brings a third observation of some
keys; a time in the middle of the others, so that each of these histories is split.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .harness import Benchmark, Contender
from .parts import RUN_IMPORTS

if TYPE_CHECKING:
    from pipeline_assets_tests.support.small_pipelines import SmallLake

KEYS, CHANGES = 2_500_000, 100_000
SMALL_KEYS, SMALL_CHANGES = 250_000, 10_000
CONTRACTS = {
    "items": ("csv", ["ITEM text key", "PRICE number", "NAME text"]),
    "item_versions": ("table", ["ITEM text key", "PRICE number", "NAME text"]),
    "dim_item": (
        "table",
        [
            "ITEM_SK text key history:surrogate_key",
            "ITEM text required",
            "PRICE number history:version",
            "NAME text history:overwrite",
            "VALID_FROM timestamp required history:valid_from",
            "VALID_TO timestamp history:valid_to",
            "IS_CURRENT boolean required history:is_current",
        ],
    ),
}
# Observations before the change: the first two versions of each key, an hour and three hours after the start.
_OBSERVED = (
    "SELECT 'item-' || CAST(N % {keys} AS VARCHAR) AS ITEM, CAST(N // {keys} + 1 AS DECIMAL(18, 4)) AS PRICE, "
    "'name' AS NAME, TIMESTAMP '2026-01-01 01:00:00' + INTERVAL 2 HOUR * (N // {keys}) AS _SOURCE_MODIFIED_AT, "
    "'lake://before/' || CAST(N // {keys} AS VARCHAR) AS _SOURCE_URI, 'etag' AS _SOURCE_ETAG, "
    "TIMESTAMP '2026-01-01' AS _LOADED_AT FROM RANGE(2 * {keys}) AS R (N)"
)


def make_inputs(inputs: Path, folder: Path) -> None:
    """Write the home and the DuckDB file with 5 million observations and their history, and the CSV of changes."""
    _make_inputs(inputs, KEYS, CHANGES)


def make_small_inputs(inputs: Path, folder: Path) -> None:
    """The same with a tenth of the rows."""
    _make_inputs(inputs, SMALL_KEYS, SMALL_CHANGES)


def _make_inputs(inputs: Path, keys: int, changes: int) -> None:
    import duckdb

    from pipeline_assets.sqlfiles import transpile

    lake = _lake(inputs, inputs / "home")
    lake.csv("none", {"ITEM": "item-0", "PRICE": 1, "NAME": "name"}, at=0)
    lake.run()  # makes the tables
    (warehouse,) = (inputs / "home" / "warehouse").glob("*.d*b")
    (history,) = type(lake).pipeline().marts
    columns = ", ".join(history.contract.column_names)
    plain = duckdb.connect(str(inputs / "plain.duckdb"))
    plain.execute(f"CREATE SCHEMA SHOP; CREATE TABLE SHOP.ITEM_VERSIONS AS {_OBSERVED.format(keys=keys)}")
    plain.execute(f"CREATE TABLE SHOP.DIM_ITEM AS {transpile(history.select.text, 'duckdb')}")
    plain.execute(f"ATTACH '{warehouse}' AS HOME")
    plain.execute("DELETE FROM HOME.SHOP.ITEM_VERSIONS; DELETE FROM HOME.SHOP.DIM_ITEM")
    plain.execute("INSERT INTO HOME.SHOP.ITEM_VERSIONS BY NAME FROM SHOP.ITEM_VERSIONS")
    plain.execute(f"INSERT INTO HOME.SHOP.DIM_ITEM BY NAME SELECT {columns} FROM SHOP.DIM_ITEM")
    plain.execute(
        f"COPY (SELECT 'item-' || CAST({keys // changes} * N AS VARCHAR) AS ITEM, 9 AS PRICE, 'new' AS NAME "
        f"FROM RANGE({changes}) AS R (N)) TO '{inputs / 'changes.csv'}' (HEADER)"
    )
    plain.close()


def _lake(inputs: Path, home: Path) -> SmallLake:
    from pipeline_assets.pipeline import History, LandedFiles, Table
    from pipeline_assets_tests.support.small_pipelines import lake_of, pipeline_of

    value = pipeline_of(
        inputs / "pipeline",
        CONTRACTS,
        {"item_versions": "SELECT ITEMS.ITEM, ITEMS.PRICE, ITEMS.NAME FROM ITEMS"},
        sources=[LandedFiles("items", "in/*.csv")],
        tables=[Table("item_versions", write="append"), History("dim_item", of="item_versions")],
    )
    return lake_of(value).at(home)


def land_changes(inputs: Path, folder: Path) -> None:
    """A home with the history, in which the changes have landed; two hours after the start, between both versions."""
    from pipeline_assets_tests.support.small_pipelines import later

    shutil.copytree(inputs / "home", folder / "home")
    lake = _lake(inputs, folder / "home")
    lake.write("changes.csv", (inputs / "changes.csv").read_text(encoding="utf-8"), later(2))


def copy_plain(inputs: Path, folder: Path) -> None:
    """The DuckDB file with the history."""
    shutil.copy(inputs / "plain.duckdb", folder / "plain.duckdb")


def ours(inputs: Path, folder: Path) -> None:
    """One batch: the changes validated, published as observations, and the history of their keys rebuilt."""
    _lake(inputs, folder / "home").run()


def rows_of_ours(inputs: Path, folder: Path) -> int:
    """The rows of the history that are new."""
    (rows,) = _lake(inputs, folder / "home").rows("SELECT COUNT(*) FROM SHOP.DIM_ITEM WHERE PRICE = 9")
    return int(rows[0])


def plain_duckdb(inputs: Path, folder: Path) -> None:
    """The same observations inserted and the same SELECT over the touched keys, in one transaction."""
    import duckdb

    from pipeline_assets.sqlfiles import transpile

    (history,) = type(_lake(inputs, folder / "unused")).pipeline().marts
    touched = "SELECT * FROM SHOP.ITEM_VERSIONS WHERE ITEM IN (SELECT ITEM FROM CHANGES)"
    rebuilt = transpile(history.select.over({"SHOP.ITEM_VERSIONS": touched}), "duckdb")
    with duckdb.connect(str(folder / "plain.duckdb")) as connection:
        connection.execute("BEGIN")
        connection.execute(f"CREATE TEMP TABLE CHANGES AS FROM read_csv('{inputs / 'changes.csv'}')")
        connection.execute(
            "INSERT INTO SHOP.ITEM_VERSIONS BY NAME SELECT *, TIMESTAMP '2026-01-01 02:00:00' AS _SOURCE_MODIFIED_AT, "
            "'changes' AS _SOURCE_URI, 'etag' AS _SOURCE_ETAG, NOW() AS _LOADED_AT FROM CHANGES"
        )
        connection.execute("DELETE FROM SHOP.DIM_ITEM WHERE ITEM IN (SELECT ITEM FROM CHANGES)")
        connection.execute(f"INSERT INTO SHOP.DIM_ITEM {rebuilt}")
        connection.execute("COMMIT")


def rows_of_plain(inputs: Path, folder: Path) -> int:
    """The rows of the history that are new."""
    import duckdb

    with duckdb.connect(str(folder / "plain.duckdb"), read_only=True) as connection:
        (rows,) = connection.execute("SELECT COUNT(*) FROM SHOP.DIM_ITEM WHERE PRICE = 9").fetchone() or (0,)
    return int(rows)


def _benchmark(name: str, keys: int, changes: int, **more: Any) -> Benchmark:
    return Benchmark(
        name=name,
        title=f"History: {changes:,} changes into {2 * keys:,} rows of a slowly changing dimension",
        about=f"""{changes:,} late observations of as many keys, among {keys:,} keys with two rows each; each splits an
        interval. Ours is a whole run: the file is discovered, typed, validated and staged, the observations, the
        history and the ledger are published in one transaction of the embedded warehouse. Plain DuckDB inserts the
        same rows and rebuilds the same keys with the same SELECT in one transaction.""",
        inputs_from=(Path(__file__),),
        contenders=(
            Contender(
                "ours, whole run",
                ours,
                prepare=land_changes,
                rows_of=rows_of_ours,
                imports=RUN_IMPORTS,
                expected_rows=changes,
            ),
            Contender(
                "plain DuckDB, the rebuild alone",
                plain_duckdb,
                prepare=copy_plain,
                rows_of=rows_of_plain,
                imports=("duckdb", "sqlglot"),
                expected_rows=changes,
            ),
        ),
        **more,
    )


BENCHMARK = _benchmark(
    "history",
    KEYS,
    CHANGES,
    make_inputs=make_inputs,
    small=_benchmark("history_small", SMALL_KEYS, SMALL_CHANGES, make_inputs=make_small_inputs),
)
