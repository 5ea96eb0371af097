"""infra/dagster.yaml on a real PostgreSQL: the queue, the pools, crashed workers, compute logs, migrations.

One platform for the module, as starting it takes the longest. The tests hold a pipeline's lock to keep a run busy for
as long as they look, so nothing here depends on how fast a machine is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import boto3
import dagster as dg
import pytest

from pipeline_assets.batch.exclusive_run import exclusive_run
from pipeline_assets_tests.support.bookings_lake import booking, customer
from pipeline_assets_tests.support.graphql import stop_sensors
from pipeline_assets_tests.support.moto_aws import moto_server
from pipeline_assets_tests.support.postgres import postgres_server
from pipeline_assets_tests.support.production_instance import BUCKET, PREFIX, Production, production
from pipeline_assets_tests.support.servers import requires_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# How long a kept connection waits for a server that is gone without a word.
TIME_LIMITS = {"connect_timeout": "10", "keepalives_idle": "15", "tcp_user_timeout": "30000"}
BOOKINGS = "SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS ORDER BY BOOKING_ID"


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(scope="module")
def compute_logs(object_store: str) -> object:
    """A client of the store, with the bucket that `deploy aws` makes."""
    client = boto3.client(
        "s3",
        endpoint_url=object_store,
        region_name="eu-west-1",
        aws_access_key_id="AKIAEXAMPLE",
        aws_secret_access_key="not-to-be-shown-anywhere",
    )
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return client


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, object_store: str, compute_logs: object) -> Iterator[Production]:
    requires_server("postgresql")
    with (
        postgres_server() as postgres,
        production(tmp_path_factory.mktemp("production") / "home", postgres, object_store) as platform,
    ):
        yield platform


@pytest.fixture
def quiet(platform: Production) -> Production:
    """No sensor requests a run and none is under way, so what a test launches is all there is."""
    stop_sensors(platform.port)
    platform.until(platform.no_run_is_under_way)
    return platform


def test_a_landed_file_becomes_a_queued_run_whose_log_lands_in_s3(platform: Production, compute_logs) -> None:
    platform.lake.customers("", customer(1))
    loaded = "SELECT run_id FROM runs WHERE pipeline_name = 'bookings' AND status = 'SUCCESS'"
    ((run_id,),) = platform.until(lambda: platform.postgres.rows(loaded))
    run = platform.run(run_id)
    assert platform.lake.rows("SELECT CUSTOMER_ID FROM BOOKINGS.CUSTOMERS") == [("1",)]
    assert "bookings_new_files" in run["tags"]["dagster/sensor_name"]
    kinds = [event["__typename"] for event in platform.events(run["runId"])]
    assert kinds.index("RunEnqueuedEvent") < kinds.index("RunStartingEvent") < kinds.index("RunSuccessEvent")
    logs = f"{PREFIX}/storage/{run['runId']}/compute_logs/"
    listed = platform.until(lambda: compute_logs.list_objects_v2(Bucket=BUCKET, Prefix=logs).get("Contents"))
    assert (
        "bookings_batch"
        in b"".join(
            compute_logs.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in listed
        ).decode()
    )


@pytest.mark.parametrize("name", ["daemon", "code"])
def test_a_process_keeps_its_connections(platform: Production, name: str) -> None:
    """Dagster's own storage opens one for each query, dozens a second."""
    platform.until(lambda: platform.connections(name), 30)


def test_instances_share_their_connections_and_outlive_the_end_of_them(
    platform: Production, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in (platform.environment | {"PGAPPNAME": "operator"}).items():
        monkeypatch.setenv(variable, value)
    ours = "FROM pg_stat_activity WHERE application_name = 'operator' AND pid <> pg_backend_pid()"

    def connections(instance: dg.DagsterInstance) -> set[tuple]:
        assert instance.get_runs_count() == len(instance.get_run_ids())
        instance.all_instigator_state()
        return set(platform.postgres.rows(f"SELECT pid {ours}"))

    home = str(platform.dagster_home)
    with dg.DagsterInstance.from_config(home) as instance, dg.DagsterInstance.from_config(home) as other:
        kept = connections(instance)
        assert kept & connections(other)
        platform.postgres.rows(f"SELECT pg_terminate_backend(pid) {ours}")
        platform.until(lambda: not platform.postgres.rows(f"SELECT pid {ours}"))
        assert connections(instance) - kept
        with instance.run_storage.connect() as connection:
            given = connection.connection.driver_connection.get_dsn_parameters()
        assert {name: given[name] for name in TIME_LIMITS} == TIME_LIMITS


def test_two_runs_of_one_pipeline_go_one_after_the_other_and_nobody_else_waits(quiet: Production) -> None:
    with exclusive_run(quiet.lake.platform, "bookings", "customer-booking-data-pipeline"):
        first = quiet.launch("bookings")
        quiet.until_status(first, "STARTED")
        second = quiet.launch("bookings")
        other = quiet.launch("orders")
        quiet.until_status(other, "SUCCESS")  # queued after the second, and through before it
        assert quiet.run(first)["status"] == "STARTED"
        assert quiet.run(second)["status"] == "QUEUED"
    quiet.until_status(second, "SUCCESS")
    assert quiet.run(second)["startTime"] >= quiet.run(first)["endTime"]


def test_a_killed_worker_is_noticed_and_its_run_is_finished_by_a_retry(quiet: Production) -> None:
    with exclusive_run(quiet.lake.platform, "bookings", "customer-booking-data-pipeline"):
        killed = quiet.launch("bookings")
        quiet.until_status(killed, "STARTED")
        quiet.lake.bookings("-1", booking(1, 1))
        os.kill(quiet.until(lambda: quiet.worker(killed)), signal.SIGKILL)
        quiet.until_status(killed, "FAILURE")
    retry = quiet.until(lambda: quiet.tag(killed, "dagster/auto_retry_run_id"))
    assert quiet.until_status(retry, "SUCCESS")["tags"]["dagster/retry_number"] == "1"
    assert quiet.lake.rows(BOOKINGS) == [("1",)]


def test_a_code_server_that_went_away_takes_no_run_with_it(quiet: Production) -> None:
    """Dagster's own launcher would show the run as started for as long as run monitoring allows any run."""
    with exclusive_run(quiet.lake.platform, "bookings", "customer-booking-data-pipeline"):
        lost = quiet.launch("bookings")
        quiet.until_status(lost, "STARTED")
        quiet.lake.bookings("-2", booking(2, 1))
        quiet.kill("code")
        quiet.start("code")
        quiet.until_status(lost, "FAILURE")
    retry = quiet.until(lambda: quiet.tag(lost, "dagster/auto_retry_run_id"))
    quiet.until_status(retry, "SUCCESS")
    assert quiet.lake.rows(BOOKINGS) == [("1",), ("2",)]


def test_a_code_server_told_to_stop_lets_its_run_end_and_the_queue_waits_for_the_next(quiet: Production) -> None:
    with exclusive_run(quiet.lake.platform, "bookings", "customer-booking-data-pipeline"):
        running = quiet.launch("bookings")
        quiet.until_status(running, "STARTED")
        stopping = quiet.tell_to_stop("code")
        held = quiet.launch("orders")
        quiet.until(lambda: quiet.logged(held, "re-submitting the run into the queue"))
        assert stopping.poll() is None
    quiet.until_status(running, "SUCCESS")
    quiet.until(lambda: stopping.poll() is not None)
    quiet.start("code")
    assert "dagster/retry_number" not in quiet.until_status(held, "SUCCESS")["tags"]


def test_the_instance_is_migrated_again_while_it_runs_and_keeps_its_history(platform: Production) -> None:
    before = platform.postgres.rows("SELECT run_id, status FROM runs ORDER BY 1")
    migrated = platform.command("dagster", "instance", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert platform.postgres.rows("SELECT run_id, status FROM runs ORDER BY 1") == before
    assert platform.command("dagster-daemon", "liveness-check").returncode == 0


def test_no_process_wrote_a_secret(platform: Production) -> None:
    said = "".join(path.read_text() for path in platform.logs.iterdir())
    assert "not-to-be-shown-anywhere" not in said
