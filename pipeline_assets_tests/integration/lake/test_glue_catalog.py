"""The Glue catalog over HTTP (moto): tables and partitions as they are written, refusals in one line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.errors import ConfigurationError, LakeError
from pipeline_assets.lake import LocalLake
from pipeline_assets.lake.glue_catalog import CREATE_LIMIT, GlueCatalog
from pipeline_assets_tests.support.orders_lake import lake_table

REGION = "eu-west-1"
TABLE = lake_table()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-shown-anywhere")


@pytest.fixture
def glue(s3_url: str, credentials: None) -> Iterator[object]:
    client = boto3.client("glue", endpoint_url=s3_url, region_name=REGION)
    yield client
    for database in client.get_databases()["DatabaseList"]:
        for table in client.get_tables(DatabaseName=database["Name"])["TableList"]:
            client.delete_table(DatabaseName=database["Name"], Name=table["Name"])
        client.delete_database(Name=database["Name"])


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path / "lake")


@pytest.fixture
def catalog(lake: LocalLake, s3_url: str) -> GlueCatalog:
    return GlueCatalog(lake, Aws(REGION, s3_url), "shop")


def lay(lake: LocalLake, day: str) -> Path:
    path = lake.path(lake.uri(TABLE.bucket, TABLE.folder(day) + "orders_1.parquet"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PAR1")
    return path


def registered(glue) -> list[str]:
    pages = glue.get_paginator("get_partitions").paginate(DatabaseName="shop", TableName=TABLE.contract.name)
    return sorted(partition["Values"][0] for page in pages for partition in page["Partitions"])


def test_database_table_and_partitions_are_made_on_first_use(glue, lake: LocalLake, catalog: GlueCatalog) -> None:
    lay(lake, "2024-01-10")
    catalog.register(TABLE, ["2024-01-10"])
    table = glue.get_table(DatabaseName="shop", Name="orders_parquet_datalake")["Table"]
    columns = [(column["Name"], column["Type"]) for column in table["StorageDescriptor"]["Columns"]]
    assert columns[:3] == [("order_id", "string"), ("order_date", "string"), ("total_amount", "double")]
    assert columns[-1] == ("quantity", "bigint")
    assert len(columns) == 12
    assert [(key["Name"], key["Type"]) for key in table["PartitionKeys"]] == [("dt", "date")]
    (partition,) = glue.get_partitions(DatabaseName="shop", TableName=TABLE.contract.name)["Partitions"]
    assert partition["StorageDescriptor"]["Location"].endswith("/orders_parquet_datalake/dt=2024-01-10/")


def test_registering_again_is_no_error_and_no_second_partition(glue, lake: LocalLake, catalog: GlueCatalog) -> None:
    lay(lake, "2024-01-10")
    lay(lake, "2024-01-11")
    catalog.register(TABLE, ["2024-01-10"])
    catalog.register(TABLE, ["2024-01-10", "2024-01-11", "2024-01-11"])
    assert registered(glue) == ["2024-01-10", "2024-01-11"]


def test_more_partitions_than_one_call_takes(glue, lake: LocalLake, catalog: GlueCatalog) -> None:
    days = [f"20{year:02d}-{month:02d}-01" for year in range(10, 20) for month in range(1, 13)]
    assert len(days) > CREATE_LIMIT
    for day in days:
        lay(lake, day)
    catalog.register(TABLE, days)
    assert registered(glue) == days


def test_a_partition_without_files_goes_and_one_that_never_was_is_no_error(
    glue, lake: LocalLake, catalog: GlueCatalog
) -> None:
    gone = lay(lake, "2024-01-10")
    lay(lake, "2024-01-11")
    catalog.register(TABLE, ["2024-01-10", "2024-01-11"])
    gone.unlink()
    catalog.register(TABLE, ["2024-01-10", "2024-01-12"])
    assert registered(glue) == ["2024-01-11"]


def test_a_table_gets_the_columns_that_its_contract_gained(glue, lake: LocalLake, catalog: GlueCatalog) -> None:
    lay(lake, "2024-01-10")
    catalog.register(TABLE, ["2024-01-10"])
    table = glue.get_table(DatabaseName="shop", Name=TABLE.contract.name)["Table"]
    storage = table["StorageDescriptor"] | {"Columns": table["StorageDescriptor"]["Columns"][:-1]}
    older = {"Name": TABLE.contract.name, "StorageDescriptor": storage, "PartitionKeys": table["PartitionKeys"]}
    glue.update_table(DatabaseName="shop", TableInput=older)
    catalog.register(TABLE, ["2024-01-10"])
    assert (
        len(glue.get_table(DatabaseName="shop", Name=TABLE.contract.name)["Table"]["StorageDescriptor"]["Columns"])
        == 12
    )


class TestCrawler:
    """An option; one that runs already does what was asked for."""

    def test_it_is_started_and_started_again_while_it_runs(self, glue, lake: LocalLake, s3_url: str) -> None:
        glue.create_crawler(Name="walker", Role="arn:aws:iam::1:role/x", DatabaseName="shop", Targets={})
        lay(lake, "2024-01-10")
        catalog = GlueCatalog(lake, Aws(REGION, s3_url), "shop", "walker")
        catalog.register(TABLE, ["2024-01-10"])
        assert glue.get_crawler(Name="walker")["Crawler"]["State"] == "RUNNING"
        catalog.register(TABLE, ["2024-01-10"])
        glue.stop_crawler(Name="walker")
        glue.delete_crawler(Name="walker")

    def test_one_that_does_not_exist_is_named(self, glue, lake: LocalLake, s3_url: str) -> None:
        lay(lake, "2024-01-10")
        with pytest.raises(LakeError, match="starting the crawler nobody"):
            GlueCatalog(lake, Aws(REGION, s3_url), "shop", "nobody").register(TABLE, ["2024-01-10"])


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[str]]]:
    """A service that refuses every call with the code at the head of a list, or succeeds when that is empty."""
    codes: list[str] = []

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"__type": codes[0], "Message": "User: arn:aws:iam::1:user/secret is not authorized"})
            self.send_response(400)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", codes
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("AccessDeniedException", "the permission glue:GetTable is missing. Grant glue:GetTable"),
        ("ExpiredTokenException", "AWS does not accept the credentials"),
        ("InvalidAccessKeyId", "AWS does not accept the credentials"),
        ("InvalidToken", "AWS does not accept the credentials"),
        ("RequestExpired", "Set this machine's clock"),
        ("RequestTimeTooSkewed", "Set this machine's clock"),
    ],
)
def test_what_is_missing_is_named_with_the_remedy(
    refusing: tuple[str, list[str]], lake: LocalLake, code: str, told: str
) -> None:
    url, codes = refusing
    codes.append(code)
    with pytest.raises(ConfigurationError) as error:
        GlueCatalog(lake, Aws(REGION, url), "shop").register(TABLE, ["2024-01-10"])
    assert told in str(error.value)
    assert "shop.orders_parquet_datalake" in str(error.value)
    assert "secret" not in str(error.value)


def test_without_credentials_it_says_which_are_missing(
    s3_url: str, lake: LocalLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigurationError, match="no AWS credentials"):
        GlueCatalog(lake, Aws(REGION, s3_url), "shop").register(TABLE, ["2024-01-10"])


def test_a_partition_that_glue_refuses_within_an_accepted_call_fails_the_registration(
    catalog: GlueCatalog, glue: object, lake: LocalLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call succeeds and lists errors; the batch would else count the partition as registered, for ever."""
    lay(lake, "2024-01-10")
    original = Aws.client

    def client(self: Aws, *args: object, **kwargs: object) -> object:
        def refuse(parsed: dict, **_: object) -> None:
            detail = {"ErrorCode": "InternalServiceException", "ErrorMessage": "later"}
            parsed["Errors"] = [{"PartitionValues": ["2024-01-10"], "ErrorDetail": detail}]

        made = original(self, *args, **kwargs)  # type: ignore[arg-type]
        made.meta.events.register("after-call.glue.BatchCreatePartition", refuse)
        return made

    monkeypatch.setattr(Aws, "client", client)
    with pytest.raises(LakeError, match="2024-01-10: InternalServiceException: later"):
        catalog.register(TABLE, ["2024-01-10"])
