"""What `doctor` says of an account of Snowflake: one line for each thing that the loading role needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.doctor.account import check_account
from pipeline_assets.doctor.installation import CheckResult
from pipeline_assets.warehouse import SnowflakeWarehouse
from pipeline_assets.warehouse.schema import ops_tables
from pipeline_assets_tests.support import bookings_lake as bookings
from pipeline_assets_tests.support import orders_lake as orders
from pipeline_assets_tests.support.shop_warehouse import Shop
from pipeline_assets_tests.support.snowflake_account import Key, TestAccount


def check_results(account: TestAccount, home: Path, **changes: object) -> dict[str, CheckResult]:
    settings = account.settings(home, **changes)
    found = check_account(SnowflakeWarehouse(settings), settings, [bookings.pipeline(), Shop()])
    return {finding.what: finding for finding in found}


def test_a_deployed_account_passes_line_by_line(account: TestAccount, tmp_path: Path) -> None:
    found = check_results(account, tmp_path)
    assert {what: f.detail for what, f in found.items() if not f.passed} == {}
    assert list(found) == [
        *("Snowflake", "role", "warehouse", "database", "schema OPS", "schema BOOKINGS", "schema SHOP"),
        *("stage OPS.LAKE_CUSTOMER_BOOKING_DATA_PIPELINE", "stage OPS.LAKE_SHOP_BUCKET", "writing into OPS"),
    ]


def test_the_try_of_writing_is_rolled_back(account: TestAccount, tmp_path: Path) -> None:
    before = len(account.statements())
    check_results(account, tmp_path)
    said = account.statements()[before:]
    writes = [number for number, sql in enumerate(said) if sql.startswith("INSERT")]
    assert len(writes) == len(ops_tables())
    assert all("WHERE FALSE" in said[number] for number in writes)
    assert said.index("BEGIN") < writes[0]
    assert said[-1] == "ROLLBACK"


def test_pipes_are_tried_where_files_are_loaded_by_them(account: TestAccount, tmp_path: Path) -> None:
    before = len(account.statements())
    found = check_results(account, tmp_path, snowflake_load="snowpipe")
    assert {what: f.detail for what, f in found.items() if not f.passed} == {}
    pipes = [what for what in found if what.startswith("pipe ")]
    assert pipes[-2:] == ["pipe ANALYTICS.OPS.LOAD_BOOKINGS_CUSTOMER_BOOKINGS", "pipe ANALYTICS.OPS.LOAD_SHOP_SALES"]
    writes = [sql for sql in account.statements()[before:] if sql.startswith("INSERT INTO OPS.PIPED_")]
    assert len(writes) == len(pipes)
    assert all("WHERE FALSE" in sql for sql in writes)


def test_a_pipe_that_is_missing_is_named_and_hides_nothing(account: TestAccount, tmp_path: Path) -> None:
    settings = account.settings(tmp_path, snowflake_load="snowpipe")
    found = check_account(SnowflakeWarehouse(settings), settings, [bookings.pipeline(), orders.pipeline()])
    failed = {finding.what: finding.detail for finding in found if finding.passed is False}
    pipes = {what for what in failed if what.startswith("pipe ")}
    assert {"pipe ANALYTICS.OPS.LOAD_ORDERS_ORDER_LINES"} <= pipes
    assert not [what for what in pipes if "BOOKINGS" in what]
    assert "deploy snowflake" in failed["pipe ANALYTICS.OPS.LOAD_ORDERS_ORDER_LINES"]
    assert "PIPED_ORDERS" in failed["writing into OPS"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"snowflake_user": "NOBODY"}, "key of user NOBODY, or there is no such user"),
        ({"snowflake_private_key": Key.new().private}, "does not accept the key of user LOADER"),
        ({"snowflake_role": "OTHER"}, "Role OTHER does not exist, or user LOADER does not have it"),
        ({"snowflake_warehouse": "OTHER"}, "Warehouse OTHER does not exist"),
        ({"database": "OTHER"}, "Database OTHER does not exist"),
        ({"snowflake_account": None}, "PIPELINE_SNOWFLAKE_ACCOUNT missing"),
    ],
)
def test_why_a_sign_in_fails_is_reported_and_the_rest_is_not_tried(
    account: TestAccount, tmp_path: Path, changes: dict, told: str
) -> None:
    found = check_results(account, tmp_path, **changes)
    assert [f.passed for f in found.values()] == [False, None]
    assert told in found["Snowflake"].detail
    assert "PRIVATE KEY" not in str(found)


def test_a_schema_that_was_not_deployed_is_named_and_hides_nothing(account: TestAccount, tmp_path: Path) -> None:
    settings = account.settings(tmp_path)
    found = check_account(SnowflakeWarehouse(settings), settings, [orders.pipeline(), bookings.pipeline()])
    failed = {finding.what: finding.detail for finding in found if not finding.passed}
    assert set(failed) == {"schema ORDERS"}
    assert "GRANT USAGE ON SCHEMA ANALYTICS.ORDERS TO ROLE PIPELINE_LOADER" in failed["schema ORDERS"]
