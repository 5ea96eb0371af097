"""The catalog has every asset with its columns, and the way of each column from the source on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_assets.catalog.datasets import ColumnEntry, Dataset, datasets_of
from pipeline_assets.contracts.ddl import PROVENANCE, SOURCE_ETAG
from pipeline_assets.orchestration.assets import pipeline_assets
from pipeline_assets.pipeline import CsvExport, History, LandedFiles, Mart, Table
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support.catalog_site import FIRST_DAY, specs_of
from pipeline_assets_tests.support.small_pipelines import pipeline_of

PLATFORM_COLUMNS = {*PROVENANCE, SOURCE_ETAG[0]}


@pytest.fixture(scope="module")
def datasets() -> dict[str, Dataset]:
    return {dataset.key: dataset for dataset in datasets_of(pipelines().values())}


def entry(datasets: dict[str, Dataset], column: str) -> ColumnEntry:
    """A column by its name `<pipeline>/<dataset>.<COLUMN>`."""
    key, _, name = column.partition(".")
    return next(entry for entry in datasets[key].columns if entry.column.name == name)


def way(datasets: dict[str, Dataset], column: str) -> Iterator[str]:
    """A column and everything that it is computed from, with the first expression or the origin of each."""
    found = entry(datasets, column)
    yield f"{column} = {found.steps[0].expression if found.steps else found.origin}"
    for key, name in found.inputs:
        yield from way(datasets, f"{key}.{name}")


FOLLOWED = {
    "bookings/daily_spend.AMOUNT_SPENT": [
        "bookings/daily_spend.AMOUNT_SPENT = SUM(BOOKED.AMOUNT_SPENT)",
        "bookings/customer_bookings.AMOUNT_SPENT = BOOKINGS.AMOUNT_SPENT",
        "bookings/bookings_files.AMOUNT_SPENT = Field AMOUNT_SPENT of the CSV, in any case and order.",
    ],
    "bookings/customer_bookings_csv.EMAIL": [
        "bookings/customer_bookings_csv.EMAIL = EMAIL",
        "bookings/customer_bookings.EMAIL = CUSTOMERS.EMAIL",
        "bookings/customers_files.EMAIL = Field EMAIL of the CSV, in any case and order.",
    ],
    "orders/daily_category_sales.AMOUNT": [
        "orders/daily_category_sales.AMOUNT = COALESCE(SUM(LINES.PRICE * LINES.QUANTITY), 0)",
        "orders/order_lines.PRICE = ORDERS_PRODUCTS.PRICE",
        "orders/orders_files.PRICE = At $.products[*].price.",
        "orders/order_lines.QUANTITY = ORDERS_PRODUCTS.QUANTITY",
        "orders/orders_files.QUANTITY = At $.products[*].quantity.",
    ],
    "orders/orders_parquet_datalake.CUSTOMER_NAME": [
        "orders/orders_parquet_datalake.CUSTOMER_NAME = ORDERS_PRODUCTS.CUSTOMER_NAME",
        "orders/orders_files.CUSTOMER_NAME = At $.customer.name.",
    ],
    "movies/rating_charts.MAX_RATING": [
        "movies/rating_charts.MAX_RATING = MAX(RATED.RATING)",
        "movies/movie_reviews.RATING = CAST(ROUND(CAST(SPLIT_PART(REPLACE(REPLACE(RATINGS.VALUE, '%', ''), ' ', ''), "
        "'/', 1) AS DECIMAL(7, 4)) * CASE SPLIT_PART(REPLACE(RATINGS.VALUE, ' ', ''), '/', 2) WHEN '10' THEN 10 WHEN "
        "'5' THEN 20 WHEN '4' THEN 25 ELSE 1 END, 0) AS DECIMAL(3, 0))",
        "movies/ratings_files.VALUE = Field VALUE of the elements of RATINGS.",
        "movies/movies_files.RATINGS = Field RATINGS of the files in the archive.",
        "movies/movies_source.RATINGS = The column of the source's table.",
    ],
    "commerce/order_customer_date_price_parquet.CUSTOMER_NAME": [
        "commerce/order_customer_date_price_parquet.CUSTOMER_NAME = PRICED.CUSTOMER_NAME",
        "commerce/order_customer_date_price.CUSTOMER_NAME = PLACED_BY.C_NAME",
        "commerce/customers.C_NAME = CUSTOMERS.C_NAME",
        "commerce/customers_files.C_NAME = Field 2 of the record, which has no header.",
    ],
}


@pytest.mark.parametrize("column", FOLLOWED)
def test_a_column_followed_by_hand_comes_from_the_field_of_its_source(
    datasets: dict[str, Dataset], column: str
) -> None:
    assert list(way(datasets, column)) == FOLLOWED[column]


@pytest.mark.parametrize("pipeline", pipelines())
def test_every_asset_is_in_the_catalog_with_its_columns_and_reads(datasets: dict[str, Dataset], pipeline: str) -> None:
    specs = specs_of(pipeline_assets(pipelines()[pipeline], 26, FIRST_DAY))
    # Buckets, streams and processed zones are places of bytes, not datasets.
    places = {key for key, spec in specs.items() if spec.kinds & {"bucket", "stream", "folder"}}
    specs = {key: spec for key, spec in specs.items() if key not in places}
    listed = {key: dataset for key, dataset in datasets.items() if dataset.pipeline == pipeline}

    assert listed.keys() == specs.keys()
    for key, spec in specs.items():
        is_open = listed[key].contract.is_open  # then Dagster shows the columns of the last materialization
        if not is_open:
            schema = spec.metadata["dagster/column_schema"]
            columns = [column.name for column in schema.columns]
            own = [name for name in columns if name not in PLATFORM_COLUMNS]
            assert [each.column.name for each in listed[key].columns] == own
        assert set(listed[key].reads) == {dep.asset_key.to_user_string() for dep in spec.deps} - places
        lineage = spec.metadata.get("dagster/column_lineage")
        for each in () if is_open else listed[key].columns:
            deps = lineage.deps_by_column[each.column.name] if lineage else []
            of_columns = {(dep.asset_key.to_user_string(), dep.column_name) for dep in deps}
            assert set(each.inputs) == {(of, name) for of, name in of_columns if of not in places}


def test_every_column_says_where_its_values_come_from(datasets: dict[str, Dataset]) -> None:
    for dataset in datasets.values():
        for each in dataset.columns:
            assert each.inputs or each.steps or each.origin, f"{dataset.key}.{each.column.name}"
            for key, name in each.inputs:
                assert name in [of.column.name for of in datasets[key].columns]


def test_what_the_platform_sets_is_said_beside_the_column(datasets: dict[str, Dataset]) -> None:
    number = entry(datasets, "orders/order_lines.LINE_NUMBER")
    began = entry(datasets, "movies/dim_movie.VALID_FROM")

    assert (number.inputs, number.origin) == ((), "_POSITION: The position of the element in its list, from 1.")
    assert began.origin == "_SOURCE_MODIFIED_AT: When that source was last modified, by its store's clock, UTC."


def test_kinds_locations_and_write_modes_follow_from_the_value(tmp_path: Path) -> None:
    columns = ["ID text key", "PRICE number"]
    history = ["SK text key history:surrogate_key", "ID text required", "PRICE number history:version"]
    history += ["BEGAN timestamp history:valid_from", "ENDED timestamp history:valid_to"]
    history += ["CURRENT_ROW boolean history:is_current"]
    value = pipeline_of(
        tmp_path,
        {
            "items": ("csv", columns),
            "observed": ("table", columns),
            "current": ("table", columns),
            "totals": ("table", ["ID text key", "TOTAL number"]),
            "dim": ("table", history),
        },
        {
            "observed": "SELECT I.ID, I.PRICE FROM ITEMS AS I",
            "current": "SELECT I.ID, I.PRICE FROM ITEMS AS I",
            "totals": "SELECT C.ID, SUM(C.PRICE) AS TOTAL FROM SHOP.CURRENT AS C GROUP BY C.ID",
        },
        sources=[LandedFiles("items", "in/*.csv|in/*.parquet")],
        tables=[
            Table("current"),
            Table("observed", write="append"),
            Mart("totals", refresh_by="ID"),
            History("dim", of="observed"),
        ],
        exports=[CsvExport("out", of="current", key="out/{batch_id}.csv")],
    )
    found = {dataset.key: (dataset.kind, dataset.location, dataset.write) for dataset in datasets_of([resolve(value)])}

    assert found == {
        "shop/items_files": ("source", "shop-bucket/in/*.csv | shop-bucket/in/*.parquet", ""),
        "shop/current": ("table", 'SHOP."CURRENT"', "upsert"),
        "shop/observed": ("table", "SHOP.OBSERVED", "append"),
        "shop/totals": ("mart", "SHOP.TOTALS", ""),
        "shop/dim": ("history", "SHOP.DIM", ""),
        "shop/out": ("export", "shop-bucket/out/{batch_id}.csv", "only changed rows"),
    }
