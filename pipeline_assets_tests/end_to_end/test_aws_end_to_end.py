"""The `aws` profile end to end: our own template deployed on an emulator of AWS, Snowflake's protocol over HTTP.

Every pipeline of the list below lands the same samples twice, in S3 and in a local lake. In S3 an event rings the bell,
the Glue job does the work in a process of its own, Snowflake's driver loads what was staged. Tables, lake and
quarantine must then be those of the `local` profile, cell by cell. A pipeline joins by a row in `PIPELINES`.

What is emulated and what is not: S3, SQS, Glue and its catalog, CloudFormation, SNS are MiniStack's; Snowflake is
fakesnow behind its HTTP server; Spark, Dagster Pipes and the drivers are the real ones.
"""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.batch.report import Request
from pipeline_assets.batch.run import run_batch
from pipeline_assets.commerce.producer import deliver_once
from pipeline_assets.definitions import build_definitions
from pipeline_assets.deploy.aws import stack
from pipeline_assets.deploy.snowflake import apply
from pipeline_assets.engine.glue import job
from pipeline_assets.orchestration.execution import dagster_instance, run_pipeline
from pipeline_assets.pipelines import pipelines
from pipeline_assets.samples import write_samples
from pipeline_assets.settings import Settings, load_settings, prepare_home
from pipeline_assets_tests.end_to_end.test_engines_agree import without_the_run
from pipeline_assets_tests.support.commerce_lake import CommerceLake, customer, order
from pipeline_assets_tests.support.mariadb import mariadb_database
from pipeline_assets_tests.support.ministack import ACCOUNT, CREDENTIALS, REGION, MiniStack, ministack
from pipeline_assets_tests.support.movies_lake import CREATED, MoviesLake, movie, ratings
from pipeline_assets_tests.support.reviews_lake import parquet
from pipeline_assets_tests.support.servers import requires_server
from pipeline_assets_tests.support.snowflake_account import Key
from pipeline_assets_tests.support.snowflake_server import serving

pytestmark = [pytest.mark.aws, pytest.mark.slow, pytest.mark.timeout(400)]
PREFIX = "acme-"
PIPELINES = ("bookings", "orders")
_definitions: dict[Path, dg.Definitions] = {}


@dataclass(frozen=True)
class Account:
    """Both clouds, deployed."""

    aws: MiniStack
    settings: Settings

    @property
    def client(self) -> Any:
        return self.aws.client("s3")

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=PREFIX + bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    home, key = tmp_path_factory.mktemp("aws"), Key.new()
    loader = Key.new()
    with ministack() as aws, pytest.MonkeyPatch.context() as patch:
        buckets = aws.objects / ACCOUNT
        with serving("--admin", f"ADMIN:{key.public}", "--buckets", str(buckets)) as port:
            given: dict[str, Any] = {
                "aws_region": REGION,
                "aws_endpoint_url": aws.url,
                "s3_endpoint_url": aws.url,
                "bucket_prefix": PREFIX,
                "home": home,
                "snowflake_account": "acme-test",
                "snowflake_host": "127.0.0.1",
                "snowflake_port": port,
                "snowflake_protocol": "http",
                "snowflake_user": "LOADER",
                "snowflake_private_key": loader.private,
                "snowflake_admin_user": "ADMIN",
                "snowflake_admin_private_key": key.private,
            }
            for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": REGION}.items():
                patch.setenv(name, value)
            patch.setattr(job, "_POLL_SECONDS", (0.2, 1.0))
            said: list[str] = []
            stack.deploy(load_settings(**given), dry_run=False, say=said.append)
            for line in said:
                if not line.startswith("#"):
                    name, _, value = shlex.split(line)[0].partition("=")
                    patch.setenv(name, value)
            settings = load_settings(**given)
            prepare_home(settings)
            aws.let_glue_jobs_run(settings.glue_job or "")
            apply.deploy(settings, list(pipelines().values()), dry_run=False, say=said.append)
            yield Account(aws, settings)


def samples(pipeline: str, folder: Path, seed: int) -> list[Path]:
    folder.mkdir(parents=True)
    return [file.path for file in write_samples(pipeline, folder, scale=0.05, seed=seed)]


def definitions(settings: Settings) -> dg.Definitions:
    """Those of a home are built once, as by a process of Dagster."""
    if settings.home not in _definitions:
        _definitions[settings.home] = build_definitions(settings)
    return _definitions[settings.home]


def tick(account: Account, pipeline: str, cursor: str | None) -> Any:
    """One evaluation of the new_files_sensor, as the daemon does it."""
    sensor = definitions(account.settings).get_sensor_def(f"{pipeline}_new_files")
    with dagster_instance(account.settings.dagster_home) as instance:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"platform": build_platform(account.settings)}
        )
        found = sensor.evaluate_tick(context)
    return found


def run(settings: Settings, pipeline: str, engine: str, *, extract: bool = False) -> dict[str, Any]:
    request = Request(engine=engine, extract=extract)  # type: ignore[arg-type]
    answer = run_pipeline(definitions(settings), settings.dagster_home, pipeline, request, verbose=True)
    assert answer["success"], answer.get("error")
    return answer


def run_locally(settings: Settings, pipeline: str, *, extract: bool = False) -> dict[str, Any]:
    """The counts of a batch without Dagster, whose answers the test of every pipeline in `PIPELINES` compares."""
    request = Request(engine="duckdb", extract=extract)
    report = run_batch(build_platform(settings), pipelines()[pipeline], "local", request)
    counts = {name: getattr(report, name) for name in ("new", "known", "loaded", "rejected")}
    return {"objects": counts, "rows": report.rows}


def tables(settings: Settings, pipeline: str) -> dict[str, list[tuple]]:
    """Every row of every table, without what differs from run to run; uris without their scheme."""
    names = [f"{c.domain}.{c.table}" for c in pipelines()[pipeline].targets] + ["OPS.FILE_LEDGER", "OPS.QUARANTINE"]
    found = {}
    with build_platform(settings).warehouse.autocommit() as session:
        for table in names:
            where = f" WHERE PIPELINE = '{pipeline}'" if table.startswith("OPS.") else ""
            columns, rows = session.described(f"SELECT * FROM {table}{where}")
            found[table] = without_the_run(columns, rows)
    return found


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_on_aws_comes_to_what_it_comes_to_locally(account: Account, pipeline: str, tmp_path: Path) -> None:
    local = load_settings(profile="local", home=tmp_path / "local", snowflake_private_key=None)
    prepare_home(local)
    assert account.settings.profile == "aws"
    bucket = pipelines()[pipeline].sources[0].zone.bucket
    cursor = tick(account, pipeline, None).cursor  # the first look lists
    for seed, engine in ((1, "glue"), (2, "auto")):
        root = tmp_path / str(seed)
        for path in samples(pipeline, root, seed):
            key = path.relative_to(root).as_posix()
            target = local.lake_root / bucket / key
            if target.exists() and target.read_bytes() == path.read_bytes():
                continue  # the same bytes again are the same object to S3, and another one to a folder
            account.client.put_object(Bucket=PREFIX + bucket, Key=key, Body=path.read_bytes())
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        requested = tick(account, pipeline, cursor)
        assert len(requested.run_requests or ()) == 1, requested.skip_reason
        cursor = requested.cursor

        there, here = run(account.settings, pipeline, engine), run(local, pipeline, "duckdb")
        for name in ("objects", "rows"):
            assert there[name] == here[name], name
        described = json.dumps(there["checks"]).replace("s3://", "lake://")
        assert json.loads(described) == here["checks"]
        assert there["rows"]["loaded"]
        if engine == "glue":
            assert "Step 1 of" in _log(account, there["run_id"])  # what the job said came by Dagster Pipes
    again = run(account.settings, pipeline, "auto")
    assert again["objects"]["new"] == 0

    expected, found = tables(local, pipeline), tables(account.settings, pipeline)
    for table, rows in expected.items():
        assert found[table] == rows, table
    assert account.keys(pipelines()[pipeline].bucket, "staging/") == []
    left = account.keys("pipeline-artifacts", "runs/")
    assert all(key.startswith("runs/pipes/") for key in left)  # messages stay for some days, plans and results do not
    _lake_agrees(account, local, pipeline)


def _log(account: Account, run_id: str) -> str:
    """What stands in Dagster's log of a run."""
    with dagster_instance(account.settings.dagster_home) as instance:
        return "\n".join(entry.user_message for entry in instance.all_logs(run_id))


def _lake_agrees(account: Account, local: Settings, pipeline: str) -> None:
    """Files that others get have the same rows, and the catalog knows their partitions."""
    for table in pipelines()[pipeline].lake_tables:
        there, here = [], []
        for key in account.keys(table.bucket, table.prefix):
            body = account.client.get_object(Bucket=PREFIX + table.bucket, Key=key)["Body"].read()
            there += [(key.split("/")[1], *row.values()) for row in pq.read_table(io.BytesIO(body)).to_pylist()]
        for path in (local.lake_root / table.bucket / table.prefix).rglob("*.parquet"):
            here += [(path.parent.name, *row.values()) for row in pq.ParquetFile(path).read().to_pylist()]
        assert sorted(there, key=repr) == sorted(here, key=repr)
        catalog = account.aws.client("glue").get_partitions(
            DatabaseName=account.settings.glue_database, TableName=table.contract.name
        )["Partitions"]
        column = table.partition_column.lower()
        assert sorted(f"{column}={entry['Values'][0]}" for entry in catalog) == sorted({row[0] for row in there})


def test_events_request_a_run_and_listing_does_not(account: Account) -> None:
    """An object whose event nobody heard rings no bell until a listing is due; the next event does."""
    queues = json.loads(account.settings.model_dump_json())["queues"]
    bucket = PREFIX + "orders-source"
    cursor = tick(account, "orders", None).cursor
    body = b'{"order_id": "late"}'
    account.client.put_object(Bucket=bucket, Key="incoming/unheard.json", Body=body)
    account.aws.client("sqs").purge_queue(QueueUrl=queues["orders"])
    quiet = tick(account, "orders", cursor)
    assert not quiet.run_requests
    account.client.put_object(Bucket=bucket, Key="incoming/heard.json", Body=body)
    assert len(tick(account, "orders", quiet.cursor).run_requests or ()) == 1


def test_what_firehose_delivers_comes_to_the_same_tables(account: Account, tmp_path: Path) -> None:
    """The emulator's Firehose makes an object of each record, at once; a local stream makes few of the same records."""
    sources = tmp_path / "sources"
    sources.mkdir()
    watched = {stream: str(sources / f"{stream}.csv") for stream in ("customers", "orders")}
    there = account.settings.model_copy(update={"commerce_watch": watched, "home": tmp_path / "aws"})
    here = load_settings(profile="local", home=tmp_path / "local", snowflake_private_key=None, commerce_watch=watched)
    for settings in (there, here):
        prepare_home(settings)
    cursor = tick(account, "commerce", None).cursor

    _append(sources / "customers.csv", *(customer(number) for number in range(5)))
    _append(sources / "orders.csv", *(order(number, number % 6, "FOP"[number % 3]) for number in range(30)))
    _append(sources / "orders.csv", order("bad", 1, price="x"))
    deliver_once(build_platform(there).delivery, pipelines()["commerce"].value)
    assert len(tick(account, "commerce", cursor).run_requests or ()) == 1, "the events of the delivered objects"
    first = run(there, "commerce", "glue")
    assert first["rows"] == {"read": 36, "loaded": 35, "superseded": 0, "quarantined": 1}
    assert run_locally(here, "commerce", extract=True)["rows"] == first["rows"]

    _append(sources / "customers.csv", customer(1, "Renamed"), customer(5, "Late"))
    _append(sources / "orders.csv", order(1, 1, "F", "7.00"))
    second = run(there, "commerce", "auto", extract=True)
    assert second["rows"] == run_locally(here, "commerce", extract=True)["rows"]

    expected, found = _business_rows(here, CommerceLake.tables_sql), _business_rows(there, CommerceLake.tables_sql)
    assert expected["ORDER_CUSTOMER_DATE_PRICE"]
    assert found == expected
    _lake_agrees(account, here, "commerce")
    keys = account.keys("commerce-stream", "firehose/")
    assert len(keys) == 39
    assert all("/processed/" in key for key in keys)
    assert account.keys("commerce-stream", "staging/") == []


def test_archives_of_movies_come_to_the_same_tables(account: Account, tmp_path: Path) -> None:
    """Two by a Glue job that reads their members in place, one with a new version, one broken, one delivered again."""
    there = account.settings.model_copy(update={"home": tmp_path / "aws"})
    here = load_settings(profile="local", home=tmp_path / "local", snowflake_private_key=None)
    for settings in (there, here):
        prepare_home(settings)
    lake = MoviesLake(here.home, build_platform(here))
    cursor = tick(account, "movies", None).cursor
    later = CREATED + timedelta(days=1)
    first = [lake.archive("a", movie(1), movie(2)), lake.archive("b", movie(3, Ratings=ratings(("IMDb", "A+"))))]
    _upload(account, "movie-landing", lake.landing_folder.parent, first)
    assert len(tick(account, "movies", cursor).run_requests or ()) == 1

    by_glue = run(there, "movies", "glue")
    assert by_glue["rows"] == run_locally(here, "movies")["rows"]
    assert by_glue["objects"]["loaded"] == 2

    second = [lake.archive("c", movie(1, Title="Renamed"), created=later), lake.write("broken.zip", b"no archive")]
    second.append(lake.land(first[0], "again.zip"))
    _upload(account, "movie-landing", lake.landing_folder.parent, second)
    by_duckdb = run(there, "movies", "auto")
    assert by_duckdb["objects"] == run_locally(here, "movies")["objects"]
    assert by_duckdb["objects"] == {"new": 3, "known": 2, "loaded": 2, "rejected": 1}

    expected, found = _business_rows(here, MoviesLake.tables_sql), _business_rows(there, MoviesLake.tables_sql)
    assert expected["DIM_MOVIE"]
    assert found == expected
    exported = account.keys("movie-archive", "archival/")
    assert len([key for key in exported if key.startswith("archival/full_data/")]) == 2
    assert account.keys("movie-archive", "staging/") == []
    assert len([key for key in account.keys("movie-processed") if key.endswith("/movies.csv")]) == 3


LISTED = [
    {"name": "books", "key": "id", "cursor": "changed"},
    {"name": "events", "cursor": "id", "strategy": "append_distinct", "format": "csv"},
    {"name": "people", "key": "id", "cursor": "changed", "strategy": "scd2", "trigger": {"schedule": "0 4 * * *"}},
    {"name": "prices", "key": "id", "trigger": {"event": True}},
]
LISTED_SQL = {
    # As text, since the emulator's server sends 1970 for a time that is NULL.
    "BOOKS": "SELECT ID, TITLE, PRICE, CHANGED::VARCHAR, STARS FROM REVIEWS.BOOKS ORDER BY ID",
    "EVENTS": "SELECT ID, TEXT FROM REVIEWS.EVENTS ORDER BY ID, TEXT",
    "PEOPLE": "SELECT ID, NAME, IS_CURRENT FROM REVIEWS.PEOPLE ORDER BY ID, VALID_FROM",
    "PRICES": "SELECT ID, PRICE FROM REVIEWS.PRICES ORDER BY ID",
    "WATERMARKS": "SELECT NAME, PARSE_JSON(VALUE):position::VARCHAR FROM OPS.WATERMARKS WHERE PIPELINE = 'reviews' "
    "ORDER BY NAME",
}


def test_extracts_of_mariadb_and_files_of_others_come_to_the_same_tables(account: Account, tmp_path: Path) -> None:
    """Two extracts of one database, to S3 and to a local lake; an event of a file that others land requests a run."""
    requires_server("mariadb")
    listed = tmp_path / "tables.yaml"
    listed.write_text(yaml.safe_dump({"source": "shop", "tables": LISTED}), encoding="utf-8")
    with mariadb_database() as database:
        given = {"reviews_tables": listed, "reviews_source_url": database.url}
        there = account.settings.model_copy(update=given | {"home": tmp_path / "aws"})
        here = load_settings(profile="local", home=tmp_path / "local", snowflake_private_key=None, **given)
        for settings in (there, here):
            prepare_home(settings)
        listing = Account(account.aws, there)
        cursor = tick(listing, "reviews", None).cursor
        database.run(
            "CREATE TABLE books (id INT PRIMARY KEY, title VARCHAR(40), price DECIMAL(8,2), changed DATETIME(6))",
            "CREATE TABLE events (id INT, text TEXT)",
            "CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(40), changed DATETIME(6))",
            "INSERT INTO books VALUES (1, 'One', 1.5, '2024-01-01 00:00:00.000001'), (2, '', NULL, NULL)",
            "INSERT INTO events VALUES (1, 'a, \"b\"'), (1, 'a, \"b\"'), (2, NULL), (3, '')",
            "INSERT INTO people VALUES (1, 'Ada', '2024-01-01'), (2, 'Grace', '2024-01-01')",
        )
        first = run(there, "reviews", "auto", extract=True)
        assert first["rows"] == run(here, "reviews", "duckdb", extract=True)["rows"]
        assert first["rows"]["loaded"] == 8

        database.run(
            "ALTER TABLE books ADD COLUMN stars INT",
            "UPDATE books SET title = 'New', stars = 5, changed = NOW(6) WHERE id = 1",
            "INSERT INTO events VALUES (4, 'd'), (4, 'd')",
            "UPDATE people SET name = 'Augusta', changed = NOW(6) WHERE id = 1",
        )
        body = parquet({"id": [1, 2], "price": [Decimal("1.50"), None]})
        key = "Snowflake/shop/prices/export.parquet"
        account.client.put_object(Bucket=PREFIX + "lz-snowflake", Key=key, Body=body)
        (here.lake_root / "lz-snowflake" / key).parent.mkdir(parents=True)
        (here.lake_root / "lz-snowflake" / key).write_bytes(body)
        assert len(tick(listing, "reviews", cursor).run_requests or ()) == 1
        by_glue = run(there, "reviews", "glue")
        assert by_glue["rows"] == run(here, "reviews", "duckdb")["rows"]
        assert by_glue["rows"]["loaded"] == 2
        second = run(there, "reviews", "auto", extract=True)
        assert second["rows"] == run(here, "reviews", "duckdb", extract=True)["rows"]

    expected, found = _business_rows(here, LISTED_SQL), _business_rows(there, LISTED_SQL)
    assert expected["PEOPLE"] == [(1, "Ada", False), (1, "Augusta", True), (2, "Grace", True)]
    assert found == expected
    extracts = account.keys("lz-snowflake", "Snowflake/shop/books/")
    assert sorted(key.rpartition(".")[2] for key in extracts) == ["json", "json", "parquet", "parquet"]
    assert account.keys("lz-snowflake", "staging/") == []


def _upload(account: Account, bucket: str, folder: Path, paths: Sequence[Path]) -> None:
    for path in paths:
        key = path.relative_to(folder).as_posix()
        account.client.put_object(Bucket=PREFIX + bucket, Key=key, Body=path.read_bytes())


def _append(path: Path, *records: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(f"{record}\n" for record in records)


def _business_rows(settings: Settings, tables_sql: Mapping[str, str]) -> dict[str, list[tuple]]:
    """Whole numbers as integers: Snowflake's driver reads NUMBER(p,0) so, the embedded one as decimals."""

    def value(cell: object) -> object:
        return int(cell) if isinstance(cell, Decimal) and cell == int(cell) else cell

    with build_platform(settings).warehouse.autocommit() as session:
        tables = {name: session.rows(sql) for name, sql in tables_sql.items()}
    return {name: [tuple(map(value, row)) for row in rows] for name, rows in tables.items()}
