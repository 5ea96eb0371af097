"""`connect()` on an embedded warehouse: exact values, masks, and no lock that outlives a query."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import md5
from pathlib import Path
from threading import Thread

import pandas as pd
import pyarrow as pa
import pytest

from pipeline_assets import connect
from pipeline_assets.contracts.masking import MASK
from pipeline_assets.errors import ConfigurationError, PipelineError, WarehouseBusyError
from pipeline_assets.notebook import readable_to_analysts
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support import bookings_lake
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.movies_lake import MoviesLake
from pipeline_assets_tests.support.pipeline_lake import copy_home

LOADER = "PIPELINE_LOADER"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> BookingsLake:
    """One customer with two bookings."""
    lake = BookingsLake.with_tables(tmp_path_factory.mktemp("homes") / "home")
    lake.customers("", customer(1), "2,,,,,,GB,1")
    lake.bookings("", booking(10, 1, "10.0001"), booking(11, 1, "0.30"))
    lake.run()
    return lake


@pytest.fixture
def lake(filled: BookingsLake, tmp_path: Path) -> BookingsLake:
    """A home of its own for a test that writes."""
    return BookingsLake.at(copy_home(filled.home, tmp_path / "home", BookingsLake.landing))


def test_values_are_exact_in_arrow_and_in_pandas(filled: BookingsLake) -> None:
    sql = (
        "SELECT SUM(AMOUNT_SPENT) AS TOTAL, MAX(BOOKING_DATE) AS LAST, COUNT(*) AS N, NULL::NUMBER(5, 0) AS NONE, "
        "'2024-01-01 12:00:00 +0200'::TIMESTAMP_TZ AS AT, '2024-01-01 10:00:00.000001'::TIMESTAMP_NTZ(6) AS NTZ, "
        "12345678901234567890123456789.000000001::NUMBER(38, 9) AS LONG, MAX(STATUS) AS STATUS, TRUE AS YES, "
        "9007199254740993 AS ODD FROM BOOKINGS.CUSTOMER_BOOKINGS"
    )
    expected = {
        "TOTAL": Decimal("10.3001"),
        "LAST": date(2005, 5, 24),
        "N": 2,
        "NONE": None,
        "AT": datetime(2024, 1, 1, 10, tzinfo=UTC),
        "NTZ": datetime(2024, 1, 1, 10, 0, 0, 1),  # noqa: DTZ001
        "LONG": Decimal("12345678901234567890123456789.000000001"),
        "STATUS": "open",
        "YES": True,
        "ODD": 9007199254740993,
    }

    rows, frame = connect(home=filled.home).arrow(sql), connect(home=filled.home).query(sql)

    assert rows.to_pylist() == [expected]
    assert {name: rows.schema.field(name).type for name in ("N", "NONE", "ODD")} == dict.fromkeys(
        ("N", "NONE", "ODD"), pa.int64()
    )
    found = {name: None if pd.isna(value) else value for name, value in frame.iloc[0].items()}
    assert found == expected


def test_a_result_without_rows_has_its_columns(filled: BookingsLake) -> None:
    frame = connect(home=filled.home).query("SELECT BOOKING_DATE, AMOUNT_SPENT FROM BOOKINGS.DAILY_SPEND WHERE FALSE")

    assert [(name, str(kind)) for name, kind in frame.dtypes.items()] == [
        ("BOOKING_DATE", "date32[day][pyarrow]"),
        ("AMOUNT_SPENT", "decimal128(38, 4)[pyarrow]"),
    ]


def test_analysts_get_masks_and_the_role_of_the_pipelines_sees_personal_data(filled: BookingsLake) -> None:
    sql = "SELECT CUSTOMER_ID, FIRST_NAME AS CALLED, EMAIL FROM BOOKINGS.CUSTOMERS ORDER BY 1"

    analyst, loader = connect(home=filled.home).arrow(sql), connect(home=filled.home, role="pipeline_loader").arrow(sql)

    assert analyst.to_pylist() == [
        {"CUSTOMER_ID": "1", "CALLED": MASK, "EMAIL": MASK},
        {"CUSTOMER_ID": "2", "CALLED": None, "EMAIL": None},
    ]
    assert loader.to_pylist()[0] == {"CUSTOMER_ID": "1", "CALLED": "Ada", "EMAIL": "ada@example.org"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM BOOKINGS.CUSTOMERS, LATERAL FLATTEN(INPUT => ARRAY_CONSTRUCT(CUSTOMERS.EMAIL)) AS F",
        "SELECT OBJECT_CONSTRUCT('a', C.EMAIL) AS O FROM BOOKINGS.CUSTOMERS AS C",
        "SELECT LISTAGG(EMAIL, ',') AS L FROM BOOKINGS.CUSTOMERS",
        "SELECT COUNT(*) AS N FROM BOOKINGS.CUSTOMERS WHERE EMAIL ILIKE 'ada%' HAVING COUNT(*) > 0",
        "SELECT TRY_TO_NUMBER(EMAIL) AS N, LENGTH(EMAIL) AS L, MD5(EMAIL) AS H FROM BOOKINGS.CUSTOMERS",
        "SELECT TO_NUMBER(EMAIL) AS N FROM BOOKINGS.CUSTOMERS",  # the error repeats the value
        "SELECT CUSTOMER_ID AS N FROM BOOKINGS.CUSTOMERS AS A JOIN (SELECT 'ada@example.org' AS E) ON EMAIL = E",
        "SELECT _RESCUED FROM BOOKINGS.CUSTOMERS",
    ],
)
def test_no_expression_error_or_condition_reveals_a_masked_value(filled: BookingsLake, sql: str) -> None:
    secret = ("ada@", "Ada", "Lovelace", md5(b"ada@example.org").hexdigest(), "'L': 15")
    try:
        shown = [str(row) for row in connect(home=filled.home).arrow(sql).to_pylist()]
    except PipelineError as error:
        shown = [str(error)]

    assert not any(word in row for row in shown for word in secret)
    if "WHERE" in sql or "JOIN" in sql:
        assert shown == []


@pytest.mark.parametrize("role", [None, LOADER])
def test_what_is_refused_changes_nothing_and_opens_nothing(lake: BookingsLake, role: str | None) -> None:
    before = lake.tables()

    for sql in ("DELETE FROM BOOKINGS.CUSTOMERS", "DROP SCHEMA BOOKINGS", "SELECT 1; DROP SCHEMA BOOKINGS"):
        with lake.platform.warehouse.read_only(), pytest.raises(ConfigurationError):
            connect(home=lake.home, role=role).query(sql)  # the lock is taken: waiting for it would be no refusal
    for sql in ("SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM '/etc/passwd'"):
        with pytest.raises(ConfigurationError, match="refused"):
            connect(home=lake.home, role=role).query(sql)

    assert lake.tables() == before


def test_tables_of_the_platform_are_for_the_role_of_the_pipelines(filled: BookingsLake) -> None:
    analyst, loader = connect(home=filled.home), connect(home=filled.home, role=LOADER)

    assert "OPS.FILE_LEDGER" not in set(analyst.tables()["TABLE"])
    assert "OPS.FILE_LEDGER" in set(loader.tables()["TABLE"])
    assert len(loader.query("SELECT * FROM OPS.FILE_LEDGER")) == 2
    with pytest.raises(ConfigurationError, match=r"OPS\.FILE_LEDGER cannot be read here"):
        analyst.query("SELECT * FROM OPS.FILE_LEDGER")
    with pytest.raises(ConfigurationError, match=r"OPS\.FILE_LEDGER cannot be read here"):
        analyst.columns("OPS.FILE_LEDGER")


def test_columns_are_described_by_their_contract(filled: BookingsLake) -> None:
    columns = connect(home=filled.home).columns("BOOKINGS.CUSTOMERS").set_index("COLUMN")

    assert columns.loc["EMAIL"].to_list() == ["VARCHAR(320)", True, "E-mail address, as delivered."]
    assert not columns.loc["CUSTOMER_ID", "PERSONAL"]
    assert (columns["DESCRIPTION"] != "").all()


def test_a_column_that_no_contract_has_is_masked(lake: BookingsLake) -> None:
    """It may be personal data of an earlier contract; in Snowflake its mask stays on it."""
    with lake.platform.warehouse.autocommit() as session:
        session.execute("ALTER TABLE BOOKINGS.CUSTOMERS ADD COLUMN NICKNAME VARCHAR")
        session.execute("UPDATE BOOKINGS.CUSTOMERS SET NICKNAME = 'Countess'")

    assert connect(home=lake.home).arrow("SELECT DISTINCT NICKNAME FROM BOOKINGS.CUSTOMERS").to_pylist() == [
        {"NICKNAME": None}
    ]


def test_a_view_shows_the_masks_of_the_tables_that_it_reads(tmp_path: Path) -> None:
    """Its own contract may not say that a column is personal data."""
    resolved, settings = MoviesLake.pipeline(), load_settings(home=tmp_path)
    present = {table.qualified: {c[0]: c[1] for c in table.columns} for table in resolved.warehouse_tables}
    present |= {view.qualified: {c[0]: "" for c in view.columns} for view in resolved.warehouse_views}

    readable = readable_to_analysts(settings, [resolved], present)

    for view in resolved.warehouse_views:
        assert readable[view.qualified].select == view.select


def test_a_connection_waits_for_a_batch_and_then_sees_all_of_it(lake: BookingsLake) -> None:
    found: list[int] = []
    reader = Thread(target=lambda: found.append(len(connect(home=lake.home).query("SELECT * FROM BOOKINGS.CUSTOMERS"))))
    with lake.platform.warehouse.transaction() as transaction:
        transaction.execute("DELETE FROM BOOKINGS.CUSTOMERS WHERE CUSTOMER_ID = '2'")
        reader.start()
        reader.join(0.5)
        assert reader.is_alive()
    reader.join(60)

    assert found == [1]


def test_an_open_connection_lets_a_batch_run(lake: BookingsLake) -> None:
    with connect(home=lake.home) as connection:
        before = connection.query("SELECT COUNT(*) AS N FROM BOOKINGS.CUSTOMERS")["N"][0]
        lake.customers("_more", customer(3, "Grace"))
        lake.run()
        after = connection.query("SELECT COUNT(*) AS N FROM BOOKINGS.CUSTOMERS")["N"][0]

    assert (before, after) == (2, 3)


def test_a_kernel_that_is_killed_during_a_query_leaves_no_lock(lake: BookingsLake) -> None:
    slow = "SELECT COUNT(*) FROM TABLE(GENERATOR(ROWCOUNT => 3000000)) AS A, TABLE(GENERATOR(ROWCOUNT => 3000000)) AS B"
    code = (
        f"from pipeline_assets import connect; c = connect(); c.tables(); print('ready', flush=True); c.query({slow!r})"
    )
    environment = {"PIPELINE_HOME": str(lake.home), "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    ) as kernel:
        assert kernel.stdout
        assert kernel.stdout.readline() == "ready\n"
        while True:  # until the query has the lock
            assert kernel.poll() is None
            try:
                impatient(lake).tables()
            except WarehouseBusyError:
                break
        kernel.send_signal(signal.SIGKILL)
        kernel.wait(30)

    assert impatient(lake).query("SELECT COUNT(*) AS N FROM BOOKINGS.CUSTOMERS")["N"][0] == 2


def impatient(lake: BookingsLake):
    connection = connect(home=lake.home)
    connection._warehouse.patience = 0.2  # type: ignore[attr-defined]
    return connection


def test_a_home_without_runs_is_refused_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Nothing has run"):
        connect(home=tmp_path / "home")

    assert list(tmp_path.iterdir()) == []


def test_settings_are_those_of_the_command_line(filled: BookingsLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_HOME", str(filled.home))
    monkeypatch.setenv("PIPELINE_SNOWFLAKE_ROLE", "ETL")
    assert len(connect().query("SELECT * FROM BOOKINGS.CUSTOMERS")) == 2
    assert connect(role="etl").query("SELECT MAX(FIRST_NAME) AS F FROM BOOKINGS.CUSTOMERS")["F"][0] == "Ada"

    with pytest.raises(ConfigurationError, match="no role PIPELINE_LOADER"):
        connect(role=LOADER)
    with pytest.raises(ConfigurationError, match="PIPELINE_PROFILE"):
        connect(profile="cloud")


def test_columns_of_one_name_are_refused(filled: BookingsLake) -> None:
    with pytest.raises(ConfigurationError, match="Columns have the same name: 'A'"):
        connect(home=filled.home).query("SELECT 1 AS A, 2 AS A")


def test_what_deploy_masks_is_what_is_masked_here(filled: BookingsLake) -> None:
    """The rule of both is the classification in the contracts."""
    columns = {c.name for c in bookings_lake.contract("customers").columns if c.personal}
    rows = connect(home=filled.home).arrow("SELECT * FROM BOOKINGS.CUSTOMERS WHERE CUSTOMER_ID = '1'").to_pylist()

    masks = {name for name, value in rows[0].items() if value == MASK}
    given = connect(home=filled.home, role=LOADER).arrow("SELECT * FROM BOOKINGS.CUSTOMERS WHERE CUSTOMER_ID = '1'")
    assert masks == {name for name in columns if given.to_pylist()[0][name] is not None}
