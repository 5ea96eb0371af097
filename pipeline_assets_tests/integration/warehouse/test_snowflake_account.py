"""The `aws` profile against Snowflake's protocol: the real driver, keys and statements; the account is played.

What fakesnow's server cannot do is in `snowflake_server`, not in the product.
"""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_assets.errors import ConfigurationError, PipelineError, WarehouseError
from pipeline_assets.warehouse import SnowflakeWarehouse
from pipeline_assets.warehouse.snowflake import connect_as_admin
from pipeline_assets.warehouse.transaction import Transaction, run_statement
from pipeline_assets_tests.support.bookings_lake import BUCKET, LANDING, BookingsLake, booking, customer
from pipeline_assets_tests.support.snowflake_account import Key, TestAccount

CLEAN = (
    "BOOKINGS.CUSTOMERS",
    "BOOKINGS.CUSTOMER_BOOKINGS",
    "BOOKINGS.DAILY_SPEND",
    "OPS.FILE_LEDGER",
    "OPS.QUARANTINE",
)


class CloudBookings(BookingsLake):
    """The same pipeline, with its files in S3 and its tables in Snowflake."""

    s3: Any

    def write(self, name: str, content: str | bytes, modified: datetime | None = None) -> Path:
        body = content.encode() if isinstance(content, str) else content
        self.s3.put_object(Bucket=BUCKET, Key=f"{LANDING}{name}", Body=body)
        return Path(name)

    def keys(self, prefix: str) -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-used")


@pytest.fixture
def cloud(request: pytest.FixtureRequest, account: TestAccount, tmp_path: Path) -> CloudBookings:
    """Empty tables and an empty bucket; loads by COPY unless a test asks for pipes."""
    settings = account.settings(tmp_path / "home", snowflake_load=getattr(request, "param", "copy"))
    account.pipes_do("LOADED")
    cloud = CloudBookings.at(settings.home, **settings.model_dump(exclude={"home"}))
    cloud.s3 = boto3.client("s3", endpoint_url=account.s3_url, region_name="us-east-1")
    for key in cloud.keys(""):
        cloud.s3.delete_object(Bucket=BUCKET, Key=key)
    with cloud.platform.warehouse.transaction() as transaction:
        for table in CLEAN:
            transaction.execute(f"DELETE FROM {table}")
    return cloud


@pytest.mark.parametrize("cloud", ["copy", "snowpipe"], indirect=True)
def test_a_batch_goes_from_landed_files_to_tables_once(cloud: CloudBookings) -> None:
    cloud.customers("", customer(1), customer(2, "Grace", "Hopper"))
    cloud.bookings("", booking(10, 1, "10.0001"), booking(11, 1, "5.10"), booking(12, 2), booking(13, 9))

    report = cloud.run()
    again = cloud.run()

    assert report.rows == {"read": 6, "loaded": 5, "superseded": 0, "quarantined": 1}
    assert report.table_rows["BOOKINGS.CUSTOMER_BOOKINGS"] == 3
    assert (again.new, again.known) == (0, 2)
    assert [str(row[12]) for row in cloud.tables()["CUSTOMER_BOOKINGS"]] == ["10.0001", "5.1000", "10.0000"]
    assert [(str(row[0]), row[3], str(row[4])) for row in cloud.tables()["DAILY_SPEND"]] == [
        ("2005-05-24", 3, "25.1001")
    ]
    assert cloud.rows("SELECT REASON_CODE FROM OPS.QUARANTINE") == [("orphan_booking",)]
    assert len(cloud.keys("processed-data/")) == 1
    assert cloud.keys("staging/") == []


def test_a_late_customer_brings_the_bookings_that_waited(cloud: CloudBookings) -> None:
    cloud.bookings("", booking(13, 9))
    cloud.run()
    cloud.customers("_late", customer(9, "Edith"))

    report = cloud.run()

    assert report.released == 1
    assert [row[:3] for row in cloud.tables()["CUSTOMER_BOOKINGS"]] == [("13", "9", "Edith")]


def test_every_session_is_in_utc_and_says_whose_it_is(account: TestAccount, cloud: CloudBookings) -> None:
    cloud.customers("", customer(1))
    cloud.run(run_id="run-42")

    sessions = account.sessions()
    for session in sessions[-3:]:
        assert (session["TIMEZONE"], session["TIMESTAMP_TYPE_MAPPING"]) == ("UTC", "TIMESTAMP_NTZ")
        assert session["TIMESTAMP_INPUT_FORMAT"] == "AUTO"
    tags = [json.loads(session["QUERY_TAG"]) for session in sessions]
    assert {"platform": "pipeline_assets", "pipeline": "bookings", "run": "run-42"} in tags


def test_every_session_frees_its_locks_when_its_worker_is_killed(account: TestAccount, tmp_path: Path) -> None:
    """Snowflake needs ten minutes at most to end a transaction that nobody owns; whoever waits for it waits longer."""
    with SnowflakeWarehouse(account.settings(tmp_path)).read_only():
        session = account.sessions()[-1]

    assert session["ABORT_DETACHED_QUERY"] is True
    assert 600 < session["LOCK_TIMEOUT"] <= 3600


def test_a_statement_may_take_longer_than_a_request_without_an_answer(account: TestAccount, tmp_path: Path) -> None:
    """The connector cancels what runs longer than its `network_timeout` (000604), although Snowflake is well."""
    settings = account.settings(tmp_path, snowflake_network_timeout=1)

    with SnowflakeWarehouse(settings).read_only() as transaction:
        assert transaction.rows("SELECT 'slow', 2") == [("slow", 2)]
    with connect_as_admin(settings) as connection:
        assert run_statement(connection, "SELECT 'slow', 2").fetchall() == [("slow", 2)]


def test_rows_come_out_as_parquet_with_exact_amounts(account: TestAccount, tmp_path: Path) -> None:
    """The driver's Arrow tables have doubles for scaled numbers unless it is asked for decimals."""
    schema = pa.schema(
        [
            ("amount", pa.decimal128(18, 2)),
            ("N", pa.decimal128(38, 0)),
            ("AT", pa.timestamp("us")),
            ("DAY", pa.date32()),
            ("TEXT", pa.string()),
        ]
    )
    sql = (
        "SELECT 'é' AS TEXT, CAST('9999999999999999.99' AS NUMBER(18, 2)) AS AMOUNT, 7 AS N, "
        "CAST('9999-12-31 23:59:59.999999' AS TIMESTAMP_NTZ(6)) AS AT, CAST('0001-01-01' AS DATE) AS DAY"
    )
    path = tmp_path / "out.parquet"

    with SnowflakeWarehouse(account.settings(tmp_path)).connect() as connection:
        transaction = Transaction(connection)
        written = transaction.to_parquet(sql, schema, path)
        none = transaction.to_parquet(f"{sql} WHERE 1 = 0", schema, tmp_path / "none.parquet")
        assert connection.arrow_number_to_decimal

    assert (written, none) == (1, 0)
    assert pq.read_schema(path) == pq.read_schema(tmp_path / "none.parquet") == schema
    assert pq.read_table(path).to_pylist() == [
        {
            "amount": Decimal("9999999999999999.99"),
            "N": Decimal(7),
            "AT": datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001 - columns have no time zone
            "DAY": date(1, 1, 1),
            "TEXT": "é",
        }
    ]


# --- sign-in -----------------------------------------------------------------------------------------------


def refused(account: TestAccount, home: Path, **wrong: object) -> PipelineError:
    with (
        pytest.raises(PipelineError) as error,
        SnowflakeWarehouse(account.settings(home, snowflake_login_timeout=2, **wrong)).read_only(),
    ):
        pass
    assert "\n" not in str(error.value)
    assert "PRIVATE KEY-" not in str(error.value)
    return error.value


@pytest.mark.parametrize(
    ("setting", "value", "missing", "remedy"),
    [
        ("snowflake_private_key", Key.new().private, "does not accept the key of user LOADER", "SET RSA_PUBLIC_KEY"),
        ("snowflake_user", "NOBODY", "or there is no such user in account acme-test", "PIPELINE_SNOWFLAKE_USER"),
        ("snowflake_role", "NO_ROLE", "Role NO_ROLE", "GRANT ROLE NO_ROLE TO USER LOADER"),
        ("snowflake_warehouse", "NO_WH", "Warehouse NO_WH", "GRANT USAGE ON WAREHOUSE NO_WH TO ROLE PIPELINE_LOADER"),
        ("database", "NO_DB", "Database NO_DB", "GRANT USAGE ON DATABASE NO_DB TO ROLE PIPELINE_LOADER"),
    ],
)
def test_what_is_missing_is_named_with_the_grant_before_any_work(
    account: TestAccount, tmp_path: Path, setting: str, value: str, missing: str, remedy: str
) -> None:
    error = refused(account, tmp_path, **{setting: value})

    assert isinstance(error, ConfigurationError)
    assert missing in error.message
    assert remedy in error.remedy


def test_a_host_that_does_not_answer_is_named(account: TestAccount, tmp_path: Path) -> None:
    error = refused(account, tmp_path, snowflake_port=1)

    assert isinstance(error, WarehouseError)
    assert "127.0.0.1 cannot be reached" in error.message


def test_a_statement_that_is_refused_is_one_line(account: TestAccount, tmp_path: Path) -> None:
    with (
        pytest.raises(WarehouseError, match=r"^The warehouse refused `SELECT \* FROM OPS\.ABSENT`") as error,
        SnowflakeWarehouse(account.settings(tmp_path)).read_only() as transaction,
    ):
        transaction.rows("SELECT * FROM OPS.ABSENT")

    assert "\n" not in str(error.value)
