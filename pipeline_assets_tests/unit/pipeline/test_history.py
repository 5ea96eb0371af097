"""What is derived from a history, and the mistakes that it may have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.errors import PipelineError
from pipeline_assets.pipeline import History, LandedFiles, Table
from pipeline_assets.pipeline.marts import difference_query, refreshes
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets_tests.support.item_history import CONTRACTS, DIM, ITEMS, SQL, TABLES, VERSIONS, value


def test_lineage_of_a_history_comes_out_of_the_generated_select(tmp_path: Path) -> None:
    (dim,) = [mart for mart in resolve(value(tmp_path)).marts if mart.contract.name == "dim_item"]
    table = "SHOP.ITEM_VERSIONS"
    assert dim.select.relations == (table,)
    assert dim.select.sources_of("PRICE") == [(table, "PRICE")]
    assert (table, "PICTURE") in dim.select.sources_of("PICTURE")
    assert {column for _, column in dim.select.sources_of("ITEM_SK")} == {"SHOP", "ITEM", "_SOURCE_MODIFIED_AT"}
    assert dim.declared.refresh_columns == ("SHOP", "ITEM")


def test_only_the_observations_of_touched_keys_are_read_to_rebuild_them(tmp_path: Path) -> None:
    (refresh,) = [r for r in refreshes(resolve(value(tmp_path))) if r.mart.contract.name == "dim_item"]
    assert "NOT EXISTS" in refresh.missing.partition("QUALIFY")[0]
    assert all(statement.startswith("DELETE FROM SHOP.DIM_ITEM USING (SELECT DISTINCT") for statement in refresh.before)
    assert difference_query(refresh.mart).startswith("SELECT DISTINCT SHOP, ITEM FROM")


def changed(name: str, old: str, new: str | None) -> dict[str, tuple]:
    """The contracts with one column of one of them replaced or left out."""
    form, columns = CONTRACTS[name]
    assert old in columns
    return {**CONTRACTS, name: (form, [new if c == old else c for c in columns if c != old or new])}


def tables(*replaced: Table | History) -> list:
    names = {table.name for table in replaced}
    return [*(table for table in TABLES if table.name not in names), *replaced]


MISTAKES: dict[str, tuple[dict[str, Any], Sequence[str]]] = {
    "observations that are not there": (
        {"tables": tables(History("dim_item", of="item_version"))},
        ["shop: the history dim_item is of 'item_version'", "Table('item_version', write=\"append\")"],
    ),
    "observations that are upserted": (
        {"tables": tables(Table("item_versions"))},
        ["the history dim_item is of 'item_versions', which is not a table with write mode append and a key"],
    ),
    "versions in another order": (
        {"sources": [LandedFiles("items", "in/*.csv", version="NAME")]},
        ["shop: items orders versions by NAME, but the history dim_item by the time of the object"],
    ),
    "a SELECT that nobody reads": (
        {"sql": SQL | {"dim_item": "SELECT 1 AS X"}},
        ["sql/shop/dim_item.sql is not read", "Delete the file"],
    ),
    "no begin": (
        {"contracts": changed("dim_item", DIM[6], None)},
        ["dim_item: 0 columns have history: valid_from; a history has one"],
    ),
    "two ends": (
        {"contracts": changed("dim_item", DIM[6], "VALID_FROM timestamp history:valid_to")},
        ["dim_item: 0 columns have history: valid_from"],
    ),
    "an end that is required": (
        {"contracts": changed("dim_item", DIM[7], "VALID_TO timestamp required history:valid_to")},
        ["dim_item: valid_to is required, but NULL in current rows"],
    ),
    "no versions": (
        {
            "contracts": changed("dim_item", DIM[3], None)
            | {"dim_item": ("table", [c.replace("history:version", "history:overwrite") for c in DIM])}
        },
        ["dim_item: no column has history: version"],
    ),
    "a business key as primary key": (
        {"contracts": changed("dim_item", DIM[1], "SHOP text key")},
        ["dim_item: the primary key is ITEM_SK, SHOP; a business key has several rows", "Mark ITEM_SK"],
    ),
    "a business key that is missing": (
        {"contracts": changed("dim_item", DIM[1], None)},
        ["dim_item lacks SHOP, the key of item_versions"],
    ),
    "a business key with a role": (
        {"contracts": changed("dim_item", DIM[1], "SHOP text required history:version")},
        ["dim_item.SHOP has history: version, but is the key of item_versions", "needs none"],
    ),
    "a column without a role": (
        {"contracts": changed("dim_item", DIM[3], "PRICE number")},
        ["dim_item.PRICE has no history", "version, overwrite"],
    ),
    "a column that is not observed": (
        {"contracts": changed("dim_item", DIM[3], "PRIZE number history:version")},
        ["dim_item.PRIZE is not a column of item_versions"],
    ),
    "a column of another type": (
        {"contracts": changed("dim_item", DIM[3], "PRICE integer history:version")},
        ["dim_item.PRICE is NUMBER(18,0), but NUMBER(18,4) in item_versions"],
    ),
    "a required column that may be missing": (
        {"contracts": changed("dim_item", DIM[3], "PRICE number required history:version")},
        ["dim_item.PRICE is NUMBER(18,4) required, but NUMBER(18,4) in item_versions"],
    ),
    "a deletion in the history": (
        {"contracts": changed("dim_item", DIM[8], "IS_CURRENT boolean history:deleted")},
        ["dim_item: 0 columns have history: is_current"],
    ),
    "a version in the observations": (
        {"contracts": changed("item_versions", VERSIONS[2], "PRICE number history:version")},
        ["item_versions.PRICE: history: version belongs in dim_item"],
    ),
    "a role that nobody reads": (
        {"contracts": changed("items", ITEMS[2], "PRICE number history:version")},
        ["items.PRICE: history: version is not read", "History('items', of="],
    ),
    "an unknown role": (
        {"contracts": changed("dim_item", DIM[3], "PRICE number history:versions")},
        ["PRICE.customProperties.history: 'versions' is unknown", "version, overwrite, surrogate_key"],
    ),
    "a role of another type": (
        {"contracts": changed("dim_item", DIM[6], "VALID_FROM date history:valid_from")},
        ["VALID_FROM.customProperties.history: valid_from does not fit logicalType date", "timestamp"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_history_is_an_error_before_anything_runs(tmp_path: Path, mistake: str) -> None:
    changes, texts = MISTAKES[mistake]
    with pytest.raises(PipelineError) as error:
        resolve(value(tmp_path, **changes))
    for text in texts:
        assert text in str(error.value)
