"""A table of a real server through whole runs: values, changes, and drift of sized types."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path

from pipeline_assets_tests.support.mariadb import Database
from pipeline_assets_tests.support.reviews_lake import ReviewsLake, ran

CREATE = (
    "CREATE TABLE items (id BIGINT UNSIGNED PRIMARY KEY, name VARCHAR(20), price DECIMAL(8,2), ratio DOUBLE, "
    "changed DATETIME(6), KEY (changed))"
)


def test_changes_of_a_server_are_loaded_and_a_narrower_column_is_rejected(database: Database, tmp_path: Path) -> None:
    table = {"name": "items", "key": "id", "cursor": "changed"}
    lake = ReviewsLake.at(tmp_path, table, reviews_source_url=database.url, reviews_lag_seconds=0)
    database.run(CREATE)
    database.insert(
        "items", [(2**64 - 1, " a ", "1.50", 1e-300, "2024-01-01 00:00:00.000001"), (1, "", None, None, None)]
    )
    assert ran(lake.extract(), "items").rows["loaded"] == 2
    moment = datetime.fromisoformat("2024-01-01 00:00:00.000001")
    assert lake.table("ITEMS", "ID, NAME, PRICE, RATIO, CHANGED") == [
        (1, "", None, None, None),
        (2**64 - 1, " a ", Decimal("1.50"), 1e-300, moment),
    ]
    database.run("UPDATE items SET name = 'b', changed = '2024-01-02' WHERE id = 1")
    assert ran(lake.extract(), "items").rows["read"] == 1
    database.run("ALTER TABLE items MODIFY name VARCHAR(10), ADD COLUMN pages INT", "UPDATE items SET changed = NOW(6)")
    assert ran(lake.extract(), "items").rejected == 1
    ((code, reason),) = lake.rejections()
    assert code == "schema_drift"
    assert "NAME: expected VARCHAR(20), actual VARCHAR(10)" in reason
    database.run("ALTER TABLE items MODIFY name VARCHAR(40)")
    lake.extract()
    assert lake.table("ITEMS", "NAME, PAGES") == [(" a ", None), ("b", None)]
    assert {c.name: c.physical_type for c in lake.state("items").shape.columns}["name"] == "VARCHAR(40)"
