"""Running the plan: repeatable, one statement at a time, and clear about what is missing.

The account is fakesnow's server (see `snowflake_server`): databases, schemas, tables, stages and file formats are made
for real, roles, grants, policies, the warehouse and pipes are only noted there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.deploy.snowflake import apply
from pipeline_assets.deploy.snowflake.apply import deploy
from pipeline_assets.errors import ConfigurationError, WarehouseError
from pipeline_assets.pipelines import pipelines
from pipeline_assets.settings import Settings, load_settings
from pipeline_assets.warehouse import SnowflakeWarehouse
from pipeline_assets_tests.support.snowflake_account import Key, TestAccount
from pipeline_assets_tests.support.snowflake_server import serving


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestAccount]:
    """An account with nothing in it."""
    admin, loader = Key.new(), Key.new()
    with serving("--admin", f"ADMIN:{admin.public}", "--buckets", str(tmp_path_factory.mktemp("buckets"))) as port:
        yield TestAccount(port, admin, loader)


def deployed(settings: Settings, *names: str) -> list[str]:
    """Deploy some pipelines, or all."""
    said: list[str] = []
    deploy(settings, [pipelines()[name] for name in names or pipelines()], dry_run=False, say=said.append)
    return said


def made(settings: Settings) -> list[list[tuple]]:
    with SnowflakeWarehouse(settings).read_only() as transaction:
        return [
            transaction.rows(
                "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, "
                "NUMERIC_SCALE FROM INFORMATION_SCHEMA.COLUMNS ORDER BY 1, 2, 3"
            ),
            [row[1:5] for row in transaction.rows("SHOW STAGES IN DATABASE ANALYTICS")],
        ]


@pytest.fixture(scope="module")
def first(account: TestAccount, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the first deployment said, pipes included."""
    return deployed(account.settings(tmp_path_factory.mktemp("first"), snowflake_load="snowpipe"))


def test_deploying_twice_changes_nothing_and_keeps_the_rows(
    account: TestAccount, first: list[str], tmp_path: Path
) -> None:
    settings = account.settings(tmp_path, snowflake_load="snowpipe")
    before = made(settings)
    with SnowflakeWarehouse(settings).transaction() as transaction:
        transaction.execute("INSERT INTO OPS.PIPELINES (PIPELINE, PUBLISHED_BATCHES) VALUES ('kept', 7)")
    second = deployed(settings)

    assert first == second
    assert made(settings) == before
    assert before[0]
    assert len(before[1]) == len(pipelines()), "a stage for each pipeline"
    with SnowflakeWarehouse(settings).read_only() as transaction:
        assert transaction.rows("SELECT * FROM OPS.PIPELINES") == [("kept", 7)]
    assert not [said for said in first if account.loader.public in said or "PRIVATE" in said]
    assert any(account.loader.public in sql for sql in account.statements())


@pytest.mark.usefixtures("first")
def test_a_column_that_a_table_lacks_is_added(account: TestAccount, tmp_path: Path) -> None:
    settings = account.settings(tmp_path, snowflake_load="snowpipe")
    before = made(settings)
    with SnowflakeWarehouse(settings).autocommit() as session:
        session.execute("ALTER TABLE BOOKINGS.DAILY_SPEND DROP COLUMN CURRENCY_CODE")
    assert made(settings) != before

    assert "ok   table column ANALYTICS.BOOKINGS.DAILY_SPEND CURRENCY_CODE" in deployed(settings, "bookings")

    assert made(settings) == before


@pytest.mark.usefixtures("first")
def test_a_column_that_is_too_narrow_is_widened_once(account: TestAccount, tmp_path: Path) -> None:
    settings = account.settings(tmp_path, snowflake_load="snowpipe")
    before = made(settings)
    narrower = "ALTER TABLE {} ALTER COLUMN {} SET DATA TYPE {}"
    with SnowflakeWarehouse(settings).autocommit() as session:
        session.execute(narrower.format("OPS.PIPED_BOOKINGS_CUSTOMERS", "EMAIL", "VARCHAR(32)"))
        session.execute(narrower.format("BOOKINGS.DAILY_SPEND", "AMOUNT_SPENT", "NUMBER(10,4)"))
    assert made(settings) != before

    widened = [said for said in deployed(settings, "bookings") if "table column type" in said]

    assert widened == [
        "ok   table column type ANALYTICS.BOOKINGS.DAILY_SPEND AMOUNT_SPENT",
        "ok   table column type ANALYTICS.OPS.PIPED_BOOKINGS_CUSTOMERS EMAIL",
    ]
    assert made(settings) == before
    assert not [said for said in deployed(settings, "bookings") if "table column type" in said]


@pytest.mark.usefixtures("first")
def test_another_type_under_rows_is_named_after_everything_else_was_done(account: TestAccount, tmp_path: Path) -> None:
    settings = account.settings(tmp_path, snowflake_load="snowpipe")
    change = "ALTER TABLE BOOKINGS.DAILY_SPEND ALTER COLUMN AMOUNT_SPENT SET DATA TYPE {}"
    with SnowflakeWarehouse(settings).autocommit() as session:
        session.execute("INSERT INTO BOOKINGS.DAILY_SPEND (BOOKING_DATE) VALUES ('2026-01-01'::DATE)")
        session.execute(change.format("NUMBER(38,2)"))
    said: list[str] = []
    try:
        with pytest.raises(WarehouseError, match=r"DAILY_SPEND\.AMOUNT_SPENT is NUMBER\(38,2\) and not NUMBER"):
            deploy(settings, [pipelines()["bookings"]], dry_run=False, say=said.append)
        assert said[-1].endswith("the account is as the plan says.")
    finally:
        with SnowflakeWarehouse(settings).autocommit() as session:
            session.execute("DELETE FROM BOOKINGS.DAILY_SPEND")
            session.execute(change.format("NUMBER(38,4)"))


@pytest.mark.usefixtures("first")
def test_another_type_of_a_table_without_rows_is_applied_once(account: TestAccount, tmp_path: Path) -> None:
    settings = account.settings(tmp_path, snowflake_load="snowpipe")
    before = made(settings)
    with SnowflakeWarehouse(settings).autocommit() as session:
        session.execute("ALTER TABLE BOOKINGS.DAILY_SPEND ALTER COLUMN AMOUNT_SPENT SET DATA TYPE NUMBER(38,2)")
    assert made(settings) != before

    assert [said for said in deployed(settings, "bookings") if "recreate" in said] == [
        "ok   recreate table ANALYTICS.BOOKINGS.DAILY_SPEND"
    ]

    assert made(settings) == before
    assert not [said for said in deployed(settings, "bookings") if "recreate" in said]


@pytest.mark.usefixtures("first")
def test_a_table_that_a_run_has_created_is_masked_before_analysts_can_read_it(
    account: TestAccount, tmp_path: Path
) -> None:
    """FAULTS 40."""
    settings, name = account.settings(tmp_path, snowflake_load="snowpipe"), "REVIEWS.AMAZONEBOOK_REVIEWS"
    columns = "(REVIEWER_NAME VARCHAR(40), BUSINESS_DATE DATE, _RESCUED VARIANT)"
    assert not [said for said in deployed(settings, "reviews") if name in said]
    try:
        with SnowflakeWarehouse(settings).autocommit() as session:
            session.execute(f"CREATE TABLE {name} {columns}")

        found = [said for said in deployed(settings, "reviews") if name in said]
    finally:
        with SnowflakeWarehouse(settings).autocommit() as session:
            session.execute(f"DROP TABLE IF EXISTS {name}")

    assert found == [
        f"ok   column mask ANALYTICS.{name} REVIEWER_NAME",
        f"ok   column mask ANALYTICS.{name} _RESCUED",
        f"ok   column tag ANALYTICS.{name} REVIEWER_NAME",
        f"ok   column tag ANALYTICS.{name} _RESCUED",
        f"ok   grant read table ANALYTICS.{name} to PIPELINE_ANALYST",
    ]


@pytest.mark.usefixtures("first")
def test_a_deployed_account_leaves_a_run_nothing_to_create(account: TestAccount, tmp_path: Path) -> None:
    """The loading role could not."""
    from pipeline_assets.batch.run import required_tables

    settings = account.settings(tmp_path, snowflake_load="snowpipe")
    before = len(account.statements())

    for pipeline in pipelines().values():
        SnowflakeWarehouse(settings).prepare(required_tables(pipeline))

    assert {sql.split()[0] for sql in account.statements()[before:]} == {"SELECT"}


def test_a_name_that_is_none_is_refused_before_anything_is_run(account: TestAccount, tmp_path: Path) -> None:
    """FAULTS 31."""
    before = account.statements()

    with pytest.raises(ConfigurationError, match="is not a name"):
        deployed(account.settings(tmp_path, snowflake_admin_role="X; DROP TABLE Y"))

    assert account.statements() == before


def test_a_missing_setting_is_named_before_anything_is_run() -> None:
    with pytest.raises(ConfigurationError, match="PIPELINE_SNOWFLAKE_STORAGE_ROLE_ARN missing"):
        deployed(load_settings(snowflake_user="X", snowflake_private_key="x"))


def test_a_key_that_the_admin_does_not_have_is_named(account: TestAccount, tmp_path: Path) -> None:
    settings = account.settings(tmp_path, snowflake_admin_private_key=Key.new().private)

    with pytest.raises(ConfigurationError, match=r"key of user ADMIN.*PIPELINE_SNOWFLAKE_ADMIN_PRIVATE_KEY"):
        deployed(settings)


# --- refusals ----------------------------------------------------------------------------------------------


class Refusing:
    """A connection that refuses one kind of statement and keeps the others."""

    def __init__(self, begins: str, says: str) -> None:
        self.begins, self.says, self.ran = begins, says, []

    def cursor(self) -> Refusing:
        return self

    def execute(self, sql: str) -> Refusing:
        from snowflake.connector.errors import ProgrammingError

        if sql.startswith(self.begins):
            raise ProgrammingError(f"003001 (42501): 01b2: SQL access control error:\n{self.says}")
        self.ran.append(sql)
        return self

    description = (("schema_name",), ("table_name",), ("column_name",))

    def fetchall(self) -> list[tuple]:
        return []


def refused(
    begins: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[list[str], list[str], str]:
    """(what was said of failures, what ran, how it ended)."""
    connection, said = Refusing(begins, says), []

    @contextmanager
    def connect(settings: Settings) -> Iterator[Any]:
        yield connection

    monkeypatch.setattr(apply, "connect_as_admin", connect)
    settings = TestAccount(1, Key.new(), Key.new()).settings(tmp_path)
    with pytest.raises(WarehouseError) as error:
        deploy(settings, list(pipelines().values()), dry_run=False, say=said.append)
    failed = [line for line in said if line.startswith("FAIL")]
    assert not [line for line in failed if "\n" in line]
    return failed, connection.ran, str(error.value)


def test_a_refusal_names_the_object_the_privilege_and_the_grant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    says = "Insufficient privileges to operate on account 'ACME'"
    failed, ran, end = refused("CREATE WAREHOUSE", says, monkeypatch, tmp_path)

    assert len(failed) == 1
    assert "warehouse PIPELINE_WH" in failed[0]
    assert "It takes CREATE WAREHOUSE ON ACCOUNT: GRANT CREATE WAREHOUSE ON ACCOUNT TO ROLE SYSADMIN." in failed[0]
    assert end.startswith("1 of ")
    # Those that need it are not tried, all others are: one run shows everything that is missing.
    assert not [sql for sql in ran if "PIPELINE_WH" in sql and sql.startswith(("ALTER WAREHOUSE", "GRANT"))]
    assert any(sql.startswith("CREATE TABLE") for sql in ran)


def test_what_needs_a_refused_one_by_way_of_another_is_not_tried_either(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    says = "Insufficient privileges to operate on database 'ANALYTICS'"
    failed, ran, _ = refused("CREATE SCHEMA", says, monkeypatch, tmp_path)

    assert len(failed) == 1 + len(pipelines()), "OPS and a schema for each pipeline"
    assert "grant PIPELINE_ADMIN CREATE SCHEMA ON the database" in failed[0]
    assert not [sql for sql in ran if sql.startswith(("CREATE TABLE", "CREATE STAGE", "ALTER TABLE", "CREATE MASKING"))]


def test_a_role_that_the_admin_lacks_is_named_with_its_grant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    says = "Requested role 'ACCOUNTADMIN' is not assigned to the executing user."
    failed, _, _ = refused("USE ROLE ACCOUNTADMIN", says, monkeypatch, tmp_path)

    assert len(failed) == 2
    assert all("GRANT ROLE ACCOUNTADMIN TO USER ADMIN" in line for line in failed)
