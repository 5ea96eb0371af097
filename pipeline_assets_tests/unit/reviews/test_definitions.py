"""What Dagster gets from a list of tables alone, without a database."""

from __future__ import annotations

import dagster as dg
import pytest

from pipeline_assets.definitions import build_definitions
from pipeline_assets.settings import load_settings

LIST = """\
source: shop
tables:
  - {name: orders, key: id, cursor: at, trigger: {schedule: "0 * * * *"}, owner: sales, description: Orders of the shop}
  - {name: lines, key: [order_id, line], cursor: at, trigger: {schedule: "0 * * * *"}}
  - {name: prices, key: id, strategy: scd2, trigger: {schedule: "0 3 * * 1"}, personal: note}
  - {name: stock, key: id, trigger: {event: true}}
  - {name: log, key: [], strategy: append_distinct}
"""


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    home = tmp_path_factory.mktemp("home")
    (home / "tables.yaml").write_text(LIST, encoding="utf-8")
    url = "mysql+pymysql://ann:s3cret@nowhere.example/shop"
    return build_definitions(load_settings(home=home, reviews_tables=home / "tables.yaml", reviews_source_url=url))


def spec(definitions: dg.Definitions, *key: str) -> dg.AssetSpec:
    return next(s for s in definitions.resolve_all_asset_specs() if s.key == dg.AssetKey(["reviews", *key]))


def test_each_table_has_a_source_files_and_a_table_in_its_lineage(definitions: dg.Definitions) -> None:
    assert spec(definitions, "orders_source").kinds == {"mysql"}
    assert [d.asset_key for d in spec(definitions, "orders_files").deps] == [dg.AssetKey(["reviews", "orders_source"])]
    table = spec(definitions, "orders")
    assert [d.asset_key for d in table.deps] == [dg.AssetKey(["reviews", "orders_files"])]
    assert table.owners == ["team:sales"]
    assert (table.description or "").startswith("Orders of the shop.")
    assert table.metadata["dagster/table_name"] == "REVIEWS.ORDERS"
    assert table.freshness_policy
    assert "dagster/column_schema" not in table.metadata, "a run learns the columns"


def test_a_history_depends_on_its_observations(definitions: dg.Definitions) -> None:
    history = spec(definitions, "prices")
    assert history.metadata["dagster/table_name"] == "REVIEWS.PRICES"
    assert [d.asset_key for d in history.deps] == [dg.AssetKey(["reviews", "prices_observations"])]
    assert history.tags["personal_data"] == "yes"


def test_files_of_others_come_from_their_bucket(definitions: dg.Definitions) -> None:
    (bucket,) = spec(definitions, "stock_files").deps
    assert bucket.asset_key == dg.AssetKey(["reviews", "lz_snowflake_bucket"])
    assert "`lz-snowflake`" in (spec(definitions, "lz_snowflake_bucket").description or "")


def test_each_distinct_cron_is_a_schedule_that_extracts_its_tables(definitions: dg.Definitions) -> None:
    schedules = {s.name: s for s in definitions.schedules or [] if s.name.startswith("reviews_")}
    assert {name: s.cron_schedule for name, s in schedules.items()} == {
        "reviews_daily": "15 5 * * *",
        "reviews_tables_1": "0 * * * *",
        "reviews_prices": "0 3 * * 1",
    }
    context = dg.build_schedule_context()
    request = schedules["reviews_tables_1"].evaluate_tick(context).run_requests[0]  # type: ignore[union-attr,index]
    config = request.run_config["ops"]["reviews_batch"]["config"]
    assert config == {"extract": True, "tables": ["orders", "lines"]}


def test_no_run_starts_by_itself_for_files_of_scheduled_tables(definitions: dg.Definitions) -> None:
    sensor = next(s for s in definitions.sensors or [] if s.name == "reviews_new_files")
    assert "Snowflake/shop/stock/" in (sensor.description or "")
    assert "Snowflake/shop/log/" in (sensor.description or "")
    assert "Snowflake/shop/orders/" not in (sensor.description or "")


def test_the_password_of_the_source_is_nowhere_in_the_definitions(definitions: dg.Definitions) -> None:
    assert "s3cret" not in repr([vars(s) for s in definitions.resolve_all_asset_specs()])
