"""What services take in one request, in their own numbers; and a service that refuses for good is asked once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.errors import ConfigurationError, WarehouseError
from pipeline_assets.lake import LocalLake, S3Lake
from pipeline_assets.lake.glue_catalog import GlueCatalog
from pipeline_assets.warehouse.snowpipe import Endpoint, Snowpipe
from pipeline_assets.warehouse.transaction import Transaction
from pipeline_assets_tests.support.fault_proxy import Call, FaultProxy, Reply, refuse, since
from pipeline_assets_tests.support.object_stores import BUCKET, REGION
from pipeline_assets_tests.support.orders_lake import lake_table


@pytest.fixture
def server() -> Iterator[FaultProxy]:
    """It answers every request by its rule, and nothing stands behind it."""
    with FaultProxy("http://127.0.0.1:1") as proxy:
        yield proxy


def answering(kind: str, body: bytes) -> Any:
    return since(1, lambda handler, call: handler.answer(Reply(200, [("Content-Type", kind)], body)))


def test_s3_deletes_a_thousand_keys_at_once_at_most(server: FaultProxy, aws_keys: None) -> None:
    keys = [f"in/{number:04}" for number in range(2001)]
    server.reset(answering("application/xml", b"<DeleteResult><Deleted><Key>in/0000</Key></Deleted></DeleteResult>"))

    S3Lake(region=REGION, endpoint_url=server.url).delete(f"s3://{BUCKET}/{key}" for key in keys)

    told = [re.findall(rb"<Key>([^<]*)</Key>", call.body) for call in server.calls]
    assert [len(some) for some in told] == [1000, 1000, 1]
    assert [key.decode() for some in told for key in some] == keys


def test_glue_makes_a_hundred_partitions_at_once_at_most(server: FaultProxy, tmp_path: Path, aws_keys: None) -> None:
    lake, table = LocalLake(tmp_path), lake_table()
    days = [f"{2000 + number}-01-01" for number in range(201)]
    for day in days:
        path = lake.path(lake.uri(table.bucket, table.folder(day) + "orders_1.parquet"))
        path.parent.mkdir(parents=True)
        path.write_bytes(b"PAR1")
    told: list[list[str]] = []

    def answer(handler: Any, call: Call) -> None:
        sent, target = json.loads(call.body), {n.lower(): v for n, v in call.headers.items()}["x-amz-target"]
        if target.endswith("BatchCreatePartition"):
            told.append([partition["Values"][0] for partition in sent["PartitionInputList"]])
        columns = {"Table": {"Name": "x", "StorageDescriptor": {"Columns": []}}} if "GetTable" in target else {}
        handler.answer(Reply(200, [("Content-Type", "application/x-amz-json-1.1")], json.dumps(columns).encode()))

    server.reset(since(1, answer))
    GlueCatalog(lake, Aws(REGION, server.url), "shop").register(table, days)

    assert [len(some) for some in told] == [100, 100, 1]
    assert [day for some in told for day in some] == days


def test_snowflake_copies_a_thousand_files_at_once_at_most() -> None:
    """`COPY INTO … FILES = (…)`: https://docs.snowflake.com/en/sql-reference/sql/copy-into-table"""
    sent: list[Sequence[str]] = []

    class Connection:
        def cursor(self) -> Connection:
            return self

        def execute(self, sql: str, names: Sequence[str]) -> Connection:
            assert sql.count("%s") == len(names)
            sent.append(names)
            return self

        def fetchall(self) -> list[tuple[str, str, int, int]]:
            return [("1.parquet", "LOADED", 2, 2)]

    names = [f"{number}.parquet" for number in range(2001)]

    assert Transaction(Connection()).copy("T", "S", names) == 6
    assert [len(some) for some in sent] == [1000, 1000, 1]
    assert [name for some in sent for name in some] == names


def pipe(server: FaultProxy) -> Snowpipe:
    return Snowpipe(Endpoint(server.url, lambda: "token"), patience=1, sleep=lambda seconds: None)


@pytest.mark.parametrize(("status", "told"), [(401, "MONITOR"), (403, "MONITOR"), (404, "no pipe")])
def test_a_pipe_that_refuses_us_is_asked_once(server: FaultProxy, status: int, told: str) -> None:
    server.reset(since(1, refuse(status, "no")))

    with pytest.raises(ConfigurationError, match=told) as refused:
        pipe(server).report("DB.S.LOAD")

    assert not refused.value.transient
    assert len(server.calls) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_pipe_that_is_busy_is_asked_a_few_times_and_not_for_ever(server: FaultProxy, status: int) -> None:
    server.reset(lambda call: refuse(status, "busy") if call.number < 60 else refuse(400, "that is enough"))

    with pytest.raises(WarehouseError, match=f"HTTP {status}"):
        pipe(server).report("DB.S.LOAD")

    assert 3 <= len(server.calls) <= 10
