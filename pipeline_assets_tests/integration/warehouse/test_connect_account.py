"""`connect()` on Snowflake's protocol: the role of analysts signs in, and the real driver's types stay exact."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_assets import connect
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.warehouse.snowflake import connect_as_admin
from pipeline_assets.warehouse.transaction import run_statement
from pipeline_assets_tests.support.snowflake_account import TestAccount


@pytest.fixture(autouse=True)
def _environment(account: TestAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = account.settings(tmp_path / "home")
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        secret = getattr(value, "get_secret_value", lambda value=value: value)
        monkeypatch.setenv(f"PIPELINE_{name.upper()}", str(secret()))
    with connect_as_admin(settings) as connection:
        run_statement(connection, "GRANT ROLE PIPELINE_ANALYST TO USER LOADER")


def test_the_role_of_analysts_signs_in_unless_another_is_asked_for() -> None:
    """Then Snowflake masks; a statement is sent as it is written."""
    assert connect().query("SELECT CURRENT_ROLE() AS R")["R"][0] == "PIPELINE_ANALYST"
    assert connect(role="pipeline_loader").query("SELECT CURRENT_ROLE() AS R")["R"][0] == "PIPELINE_LOADER"


def test_a_role_that_the_user_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Role ACCOUNTADMIN does not exist, or user LOADER does not have it"):
        connect(role="ACCOUNTADMIN").query("SELECT 1 AS A")


def test_what_does_not_only_read_is_not_sent(account: TestAccount) -> None:
    before = len(account.statements())  # other tests may have deleted rows
    with connect() as connection, pytest.raises(ConfigurationError, match="only runs SELECTs"):
        connection.query("DELETE FROM BOOKINGS.CUSTOMERS")

    assert not any("DELETE FROM BOOKINGS.CUSTOMERS" in sql for sql in account.statements()[before:])


def test_queries_within_with_share_one_sign_in(account: TestAccount) -> None:
    before = len(account.sessions())
    with connect() as connection:
        connection.query("SELECT 1 AS A")
        connection.query("SELECT 2 AS A")

    assert len(account.sessions()) == before + 1


def test_values_are_exact(account: TestAccount) -> None:
    rows = connect().arrow(
        "SELECT 1 AS N, 1.50::NUMBER(10, 2) AS AMOUNT, '2024-02-29'::DATE AS DAY, "
        "'2024-01-01 10:00:00.000001'::TIMESTAMP_NTZ AS AT, NULL::VARCHAR AS NONE"
    )

    assert rows.to_pylist() == [
        {
            "N": 1,
            "AMOUNT": Decimal("1.50"),
            "DAY": date(2024, 2, 29),
            "AT": datetime(2024, 1, 1, 10, 0, 0, 1),  # noqa: DTZ001
            "NONE": None,
        }
    ]
    assert rows.schema.field("N").type == pa.int64()


def test_a_result_without_rows_has_its_columns() -> None:
    assert connect().query("SELECT CUSTOMER_ID FROM BOOKINGS.CUSTOMERS WHERE FALSE").columns.to_list() == [
        "CUSTOMER_ID"
    ]


def test_tables_and_columns_are_those_that_the_role_sees() -> None:
    with connect() as connection:
        assert "BOOKINGS.CUSTOMERS" in set(connection.tables()["TABLE"])
        assert connection.columns("BOOKINGS.CUSTOMERS").set_index("COLUMN").loc["EMAIL", "PERSONAL"]
