"""FAULTS 17 and 18 over Snowflake's protocol: the connection is lost around a statement, and the outcome is looked up.

The real driver talks to fakesnow's server through a proxy. A session that was lost stays lost, as the driver would
otherwise repeat its request with success; and its transaction is rolled back, which Snowflake does by itself after a
while and fakesnow never does.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import boto3
import pytest

from pipeline_assets.errors import WarehouseError
from pipeline_assets_tests.integration.warehouse.test_snowflake_account import CLEAN, CloudBookings
from pipeline_assets_tests.support.bookings_lake import BUCKET, booking, customer
from pipeline_assets_tests.support.fault_proxy import Call, Fault, FaultProxy, lose_reply, reset
from pipeline_assets_tests.support.snowflake_account import TestAccount


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-used")


@pytest.fixture
def proxy(account: TestAccount) -> Iterator[FaultProxy]:
    with FaultProxy(f"http://127.0.0.1:{account.port}") as proxy:
        yield proxy


@pytest.fixture
def cloud(account: TestAccount, proxy: FaultProxy, tmp_path: Path) -> CloudBookings:
    """Empty tables and an empty bucket, the warehouse behind the proxy."""
    settings = account.settings(tmp_path / "home", snowflake_port=proxy.port, snowflake_network_timeout=1)
    cloud = CloudBookings.at(settings.home, **settings.model_dump(exclude={"home"}))
    cloud.s3 = boto3.client("s3", endpoint_url=account.s3_url, region_name="us-east-1")
    for key in cloud.keys(""):
        cloud.s3.delete_object(Bucket=BUCKET, Key=key)
    with cloud.platform.warehouse.transaction() as transaction:
        for table in CLEAN:
            transaction.execute(f"DELETE FROM {table}")
    return cloud


def sql_of(call: Call) -> str:
    if not call.path.startswith("/queries/v1/query-request"):
        return ""
    packed = call.body[:2] == b"\x1f\x8b"
    return json.loads(gzip.decompress(call.body) if packed else call.body)["sqlText"]


def losing(account: TestAccount, statement: str, *, arrives: bool) -> Callable[[Call], Fault | None]:
    """Lose the publishing session at its first such statement, for good; its reply only, if it `arrives`."""
    lost: set[str] = set()
    publishing: set[str] = set()

    def gone(handler: object, call: Call) -> None:
        (lose_reply if arrives else reset)(handler, call)  # type: ignore[arg-type]
        body = json.dumps({"sqlText": "ROLLBACK"}).encode()
        headers = {"Authorization": call.headers["Authorization"], "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{account.port}/queries/v1/query-request"
        urlopen(Request(url, data=body, headers=headers)).close()

    def rule(call: Call) -> Fault | None:
        session = call.headers.get("Authorization", "")
        if session in lost:
            return reset
        sql = sql_of(call)
        if sql.startswith("UPDATE OPS.PIPELINES"):
            publishing.add(session)
        if not lost and session in publishing and sql.startswith(statement):
            lost.add(session)
            return gone
        return None

    return rule


@pytest.mark.parametrize(
    ("statement", "arrives", "published"),
    [
        ("COMMIT", True, True),
        ("COMMIT", False, False),
        ("COPY INTO", True, False),
        ("INSERT INTO OPS.FILE_LEDGER", True, False),
    ],
)
def test_a_connection_lost_around_a_statement_leaves_one_load_after_the_next_run(
    account: TestAccount, cloud: CloudBookings, proxy: FaultProxy, statement: str, arrives: bool, published: bool
) -> None:
    cloud.customers("", customer(1), customer(2, "Grace", "Hopper"))
    cloud.bookings("", booking(10, 1), booking(11, 2, "5.10"), booking(12, 1, "x"), booking(13, 9))
    proxy.reset(losing(account, statement, arrives=arrives))

    if published:
        assert cloud.run().loaded == 2, "COMMIT arrived, as looking it up tells"
    else:
        with pytest.raises(WarehouseError):
            cloud.run()
        assert cloud.rows("SELECT COUNT(*) FROM OPS.FILE_LEDGER") == [(0,)]
        assert cloud.tables()["CUSTOMER_BOOKINGS"] == []
    assert proxy.faults

    proxy.reset()
    assert cloud.run().loaded == (0 if published else 2)
    assert [row[0] for row in cloud.tables()["CUSTOMER_BOOKINGS"]] == ["10", "11"]
    assert cloud.rows(
        "SELECT COUNT(*), SUM(ROWS_READ), SUM(ROWS_LOADED + ROWS_SUPERSEDED + ROWS_QUARANTINED) FROM OPS.FILE_LEDGER"
    ) == [(2, 6, 6)]
    assert cloud.keys("staging/") == []
    assert len(cloud.keys("processed-data/")) == 1
