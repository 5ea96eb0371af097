"""Materializations, observations and checks follow what arrived, not how often somebody looked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

from pipeline_assets.batch import promote as promote_module
from pipeline_assets.batch import run as run_module
from pipeline_assets.batch.report import Request
from pipeline_assets.definitions import build_definitions
from pipeline_assets.errors import ContractError, LakeError
from pipeline_assets.orchestration.checks import checks_of
from pipeline_assets.orchestration.execution import run_pipeline
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.orders_lake import OrdersLake, order, product
from pipeline_assets_tests.support.pipeline_lake import copy_home

TABLES = {"customers", "customer_bookings", "daily_spend"}
NOW = datetime.now(UTC)


class Installation:
    """A home with its own Dagster instance, in which pipelines run as by `pipeline-assets run` and by the UI."""

    def __init__(self, lake: BookingsLake | OrdersLake, instance: dg.DagsterInstance) -> None:
        self.lake, self.instance = lake, instance

    @cached_property
    def definitions(self) -> dg.Definitions:
        return build_definitions(load_settings(home=self.lake.home, retry_seconds=0.01, warehouse_patience=0.1))

    def key(self, name: str) -> dg.AssetKey:
        return dg.AssetKey([self.lake.name, name])

    def run(self, **config: object) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def(self.lake.name).execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config={"ops": {f"{self.lake.name}_batch": {"config": config}}},
        )

    def press_materialize(self) -> dg.ExecuteInProcessResult:
        """What the UI's button starts: the job of all assets, with every asset and check of the pipeline selected."""
        graph = self.definitions.resolve_asset_graph()
        keys = [key for key in graph.executable_asset_keys if key.path[0] == self.lake.name]
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(instance=self.instance, asset_selection=keys, raise_on_error=False)

    def run_check(self, asset: str, name: str) -> dg.ExecuteInProcessResult:
        key = dg.AssetCheckKey(self.key(asset), name)
        job = dg.define_asset_job("alone", selection=dg.AssetSelection.checks(key))
        merged = dg.Definitions.merge(self.definitions, dg.Definitions(jobs=[job]))
        return merged.resolve_job_def("alone").execute_in_process(instance=self.instance)

    def shown_red(self) -> set[str]:
        """The checks that their newest run planned and did not evaluate; the UI shows them as failed if it failed."""
        keys = [
            k for k in self.definitions.resolve_asset_graph().asset_check_keys if k.asset_key.path[0] == self.lake.name
        ]
        newest = {
            key.name: self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1) for key in keys
        }
        return {name for name, records in newest.items() if records and records[0].status.value == "PLANNED"}

    def results(self) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
        """The newest result of each check of the pipeline by (asset, check)."""
        storage, found = self.instance.event_log_storage, {}
        for key in self.definitions.resolve_asset_graph().asset_check_keys:
            if key.asset_key.path[0] == self.lake.name:
                (record,) = storage.get_asset_check_execution_history(key, limit=1)
                assert record.evaluation
                found[key.asset_key.path[-1], key.name] = record.evaluation
        return found

    def latest(self, name: str) -> dict[str, object]:
        """The metadata that the page of an asset shows first."""
        event = self.instance.get_latest_materialization_event(self.key(name))
        assert event is not None
        assert event.asset_materialization is not None
        return {key: value.value for key, value in event.asset_materialization.metadata.items()}


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}


def observations(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, object]]:
    found = [event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()]
    return {o.asset_key.path[-1]: {name: value.value for name, value in o.metadata.items()} for o in found}


@pytest.fixture
def home(lake: BookingsLake) -> Iterator[Installation]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Installation(lake, instance)


def land(lake: BookingsLake) -> None:
    lake.customers("", customer(1), customer(2))
    lake.bookings("", booking(1, 1), booking(2, 2, date="25-05-2005"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> BookingsLake:
    """A home that loaded its files, without Dagster; it is only read and copied."""
    lake = BookingsLake.with_tables(tmp_path_factory.mktemp("prepared") / "home")
    land(lake)
    lake.run()
    return lake


@pytest.fixture
def loaded(prepared: BookingsLake, tmp_path: Path) -> Iterator[Installation]:
    lake = BookingsLake.at(copy_home(prepared.home, tmp_path / "home", BookingsLake.landing))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Installation(lake, instance)


@pytest.fixture
def ran(home: Installation) -> Installation:
    """The same, loaded by a run of Dagster."""
    land(home.lake)
    assert materialized(home.run()) == TABLES | {"customer_bookings_csv"}
    return home


def test_a_run_that_finds_nothing_new_observes_everything_and_materializes_nothing(ran: Installation) -> None:
    loaded, before = ran, {name: ran.latest(name) for name in TABLES}
    result = loaded.run()

    assert result.success
    assert materialized(result) == set()
    seen = observations(result)
    assert set(seen) == TABLES | {"customer_bookings_csv"}
    assert seen["customers"] == {"batch_objects_known": 2, "dagster/row_count": 2}
    assert {name: loaded.latest(name) for name in TABLES} == before
    assert before["customers"]["batch_rows_loaded"] == 4


def test_the_summary_calls_tables_unchanged_whose_rows_a_run_left_alone(loaded: Installation) -> None:
    def nothing() -> None: ...

    def a_customer_alone() -> None:
        loaded.lake.customers("_alone", customer(3))

    def no_good_row() -> None:
        loaded.lake.write("customer_details_bad.csv", "NAME\nAda\n")

    found: dict[str, tuple[set[str], dict[str, int]]] = {}
    for landed in (nothing, a_customer_alone, no_good_row):
        landed()
        answer = run_pipeline(loaded.definitions, loaded.lake.home / "dagster", "bookings", Request())
        statuses = {asset["key"].partition("/")[2]: asset["status"] for asset in answer["assets"]}
        assert statuses.keys() == TABLES | {"customer_bookings_csv"}
        assert set(statuses.values()) <= {"materialized", "unchanged"}
        changed = {name for name, status in statuses.items() if status == "materialized"}
        found[landed.__name__] = changed, answer["objects"]
        assert len(answer["checks"]) > 8, "the checks are evaluated whether or not anything is new"
    assert found == {
        "nothing": (set(), {"new": 0, "known": 2, "loaded": 0, "rejected": 0}),
        "a_customer_alone": ({"customers"}, {"new": 1, "known": 2, "loaded": 1, "rejected": 0}),
        "no_good_row": (set(), {"new": 1, "known": 3, "loaded": 0, "rejected": 1}),
    }


@dataclass(frozen=True)
class Ran:
    """What a run of the orders materialized, its metadata, and what was published after it."""

    materialized: set[str]
    latest: dict[str, dict[str, object]]
    lines: int
    lake_files: int


ORDER_TABLES = {"order_headers", "order_lines", "daily_category_sales", "orders_parquet_datalake"}


@pytest.fixture(scope="module")
def runs_of_orders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """Three batches in one home, of which the last removes every line."""
    lake = OrdersLake.with_tables(tmp_path_factory.mktemp("orders") / "home")
    batches = {
        "first": [order(1, product("P1"), product("P2")), order(2, product("P1"), date="2024-01-11")],
        "second": [order(3, product("P1"))],
        "removes": [order(1), order(2, date="2024-01-11"), order(3)],
    }
    runs = {}
    with dg.DagsterInstance.ephemeral() as instance:
        home = Installation(lake, instance)
        for hour, (name, orders) in enumerate(batches.items()):
            lake.orders(f"-{name}", *orders, modified=NOW - timedelta(hours=3 - hour))
            made = materialized(home.run())
            ((lines,),) = lake.rows("SELECT COUNT(*) FROM ORDERS.ORDER_LINES")
            latest = {asset: home.latest(asset) for asset in ORDER_TABLES}
            if name == "second":
                assert lake.rows("SELECT COUNT(*) FROM ORDERS.ORDERS_PARQUET_DATALAKE") == [(4,)]
            runs[name] = Ran(made, latest, lines, len(lake.lake_files()))
    return runs


def test_a_batch_that_only_removes_rows_changes_their_table(runs_of_orders: dict[str, Ran]) -> None:
    assert runs_of_orders["removes"].materialized == ORDER_TABLES
    assert {name: ran.lines for name, ran in runs_of_orders.items()} == {"first": 3, "second": 4, "removes": 0}


def test_numbers_of_a_batch_are_not_named_like_totals_of_a_table(runs_of_orders: dict[str, Ran]) -> None:
    ran = runs_of_orders["second"]
    latest = ran.latest["orders_parquet_datalake"]
    assert (latest["dagster/row_count"], latest["batch_rows_read"]) == (4, 1)
    assert min(latest["batch_engine_seconds"], latest["batch_warehouse_seconds"]) > 0  # type: ignore[type-var]
    for name in ("orders_parquet_datalake", "order_headers", "daily_category_sales"):
        counts = {key for key in ran.latest[name] if key.startswith(("rows_", "objects_", "bytes_"))}
        assert not counts, name


def test_a_lake_table_counts_each_file_and_partition_that_was_written_once(runs_of_orders: dict[str, Ran]) -> None:
    ran = runs_of_orders["first"]
    shown = ran.latest["orders_parquet_datalake"]
    written = (shown["table_files_written"], shown["table_partitions_touched"])
    assert written == (ran.lake_files, 2) == (2, 2)


def test_a_batch_whose_run_failed_after_the_commit_is_reported_by_the_next_attempt(
    home: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote, calls = promote_module.promote, []

    def fails_once(context: object) -> list[str]:
        calls.append(1)
        if len(calls) == 1:
            raise LakeError("Lost.", remedy="Again.")
        return promote(context)  # type: ignore[arg-type]

    monkeypatch.setattr(run_module, "promote", fails_once)
    home.lake.customers("", customer(1))
    home.lake.bookings("", booking(1, 1))
    result = home.run()
    assert result.success
    assert materialized(result) == TABLES
    assert set(observations(result)) == {"customers_files", "bookings_files", "customer_bookings_csv"}


def test_what_landed_is_observed_by_the_run_that_took_it(loaded: Installation) -> None:
    loaded.lake.bookings("_late", booking(3, 1), booking(4, 1, "x"))
    loaded.lake.write("booking_details_bad.csv", "NAME\nAda\n")
    seen = observations(loaded.run())
    assert "customers_files" not in seen, "no customer landed"
    files = seen["bookings_files"]
    assert (files["objects"], files["objects_rejected"]) == (2, 1)
    records = {str(record.data["object"]).rpartition("/")[2]: record.data for record in files["newest_objects"].records}  # type: ignore[attr-defined]
    late = records["booking_details_late.csv"]
    assert (late["status"], late["records"], late["loaded"], late["quarantined"]) == ("loaded", 2, 1, 1)
    assert late["bytes"] == loaded.lake.path("booking_details_late.csv").stat().st_size
    assert records["booking_details_bad.csv"]["status"] == "rejected"


def test_landed_files_require_their_columns_and_may_repeat_a_key(home: Installation) -> None:
    specs = {spec.key.path[-1]: spec for spec in home.definitions.resolve_all_asset_specs()}
    columns = {c.name: c.constraints for c in specs["bookings_files"].metadata["dagster/column_schema"].columns}
    assert not columns["BOOKING_ID"].nullable
    assert columns["DESTINATION_TYPE"].nullable
    assert not any(constraints.unique for constraints in columns.values())
    assert {c.name for c in specs["customers"].metadata["dagster/column_schema"].columns if c.constraints.unique}


def lateness(lake: BookingsLake, dataset: str) -> dg.AssetCheckResult:
    """What the check finds now."""
    (check,) = [
        check
        for check in checks_of(BookingsLake.pipeline(), 26)
        if (check.spec.asset_key.path[-1], check.spec.name) == (f"{dataset}_files", "lateness")
    ]
    with lake.platform.warehouse.read_only() as transaction:
        return check.result(transaction, lake.platform)


def arrive_earlier(lake: BookingsLake, hours: int) -> None:
    """Everything that was taken so far was taken before."""
    with lake.platform.warehouse.transaction() as transaction:
        for column in ("ARRIVED_AT", "LOADED_AT"):
            transaction.execute(f"UPDATE OPS.FILE_LEDGER SET {column} = DATEADD('hour', -{hours}, {column})")


def test_a_source_is_late_when_nothing_arrived_however_often_runs_looked(lake: BookingsLake) -> None:
    lake.customers("", customer(1), modified=NOW - timedelta(days=900))
    lake.run()
    late, hours = {}, 0
    for after in (25, 27):
        arrive_earlier(lake, after - hours)
        hours = after
        lake.run()
        check = lateness(lake, "customers")
        assert check.severity is dg.AssetCheckSeverity.WARN
        late[after] = not check.passed
    assert late == {25: False, 27: True}
    assert lateness(lake, "bookings").description == "Nothing has arrived yet."


def test_reprocessing_is_no_arrival(loaded: Installation) -> None:
    lake = loaded.lake
    arrive_earlier(lake, 27)
    lake.run(reprocess=True)
    assert lake.rows("SELECT COUNT(*) FROM OPS.FILE_LEDGER WHERE LOADED_AT > ARRIVED_AT") == [(2,)]
    assert not lateness(lake, "customers").passed


def test_a_rejected_object_that_is_taken_again_is_no_arrival(lake: BookingsLake) -> None:
    lake.write("customer_details_bad.csv", "NAME\nAda\n")
    assert lake.run().rejected == 1
    arrived = {}
    for again in ("reprocess", "replay"):
        arrive_earlier(lake, 27)
        assert lake.run(**{again: True}).rejected == 1, again
        arrived[again] = lateness(lake, "customers").passed
    assert arrived == {"reprocess": False, "replay": False}


def test_bytes_that_are_put_back_at_their_key_are_an_arrival(loaded: Installation) -> None:
    lake = loaded.lake
    arrive_earlier(lake, 30)
    lake.customers("", customer(1, "Ada"), customer(2, "Grace"))
    lake.run()
    assert lateness(lake, "customers").passed, "other bytes at a key are an arrival"
    arrive_earlier(lake, 30)
    lake.customers("", customer(1), customer(2))
    lake.run()
    assert lateness(lake, "customers").passed
    arrive_earlier(lake, 30)
    lake.run(reprocess=True)
    assert not lateness(lake, "customers").passed


def test_objects_that_an_older_version_of_the_platform_took_arrived_when_they_were_loaded(loaded: Installation) -> None:
    arrive_earlier(loaded.lake, 27)
    with loaded.lake.platform.warehouse.autocommit() as session:
        session.execute("ALTER TABLE OPS.FILE_LEDGER DROP COLUMN ARRIVED_AT")
    (check,) = loaded.run_check("customers_files", "lateness").get_asset_check_evaluations()
    assert not check.passed, "a check that is run alone finds the table of the older version"
    loaded.lake.run(reprocess=True)
    assert not lateness(loaded.lake, "customers").passed


def test_lateness_shows_the_newest_date_in_the_data(prepared: BookingsLake) -> None:
    check = lateness(prepared, "bookings")
    assert check.passed
    assert check.metadata["newest_booking_date"].value == "2005-05-25"


def test_a_check_runs_alone_and_reads_the_warehouse(loaded: Installation) -> None:
    (check,) = loaded.run_check("daily_spend", "reconciles").get_asset_check_evaluations()
    assert check.passed
    with loaded.lake.platform.warehouse.transaction() as transaction:
        transaction.execute("UPDATE BOOKINGS.DAILY_SPEND SET AMOUNT_SPENT = AMOUNT_SPENT + 1")
    result = loaded.run_check("daily_spend", "reconciles")
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert materialized(result) == set()
    run = loaded.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["pipeline"] == "bookings"


def test_a_failed_run_leaves_the_checks_as_they_were(ran: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline_assets.orchestration import assets

    def failing(*_: object) -> None:
        raise ContractError("Wrong.")

    monkeypatch.setattr(assets, "run_batch", failing)
    for run in (ran.run, ran.press_materialize):
        assert not run().success
        assert ran.shown_red() == set()


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Another connection keeps the warehouse."""
    with FileLock(home / "warehouse" / ".lock"):
        yield


@contextmanager
def damaged(home: Path) -> Iterator[None]:
    (database,) = (home / "warehouse").glob("*.db")
    sound = database.read_bytes()
    database.write_bytes(b"no database\n" * 1000)
    yield
    database.write_bytes(sound)


@contextmanager
def displaced(home: Path) -> Iterator[None]:
    """A file has the name of the warehouse's folder."""
    folder = (home / "warehouse").rename(home / "elsewhere")
    (home / "warehouse").touch()
    yield
    (home / "warehouse").unlink()
    folder.rename(home / "warehouse")


def test_checks_keep_their_results_while_the_warehouse_cannot_be_read(loaded: Installation) -> None:
    loaded.lake.bookings("_2", booking(3, 1, "x"))  # so that a check does not pass
    assert loaded.press_materialize().success
    before = loaded.results()
    assert {result.passed for result in before.values()} == {True, False}
    planned = {name for name in before if not name[0].endswith("_files")}

    for unreachable in (locked, damaged, displaced):
        case, started = unreachable.__name__, time.time()
        with unreachable(loaded.lake.home):
            failed = [loaded.press_materialize() for _ in range(2)]

        assert [(run.success, run.get_asset_check_evaluations()) for run in failed] == [(False, [])] * 2, case
        assert loaded.shown_red() == set(), case
        after = loaded.results()
        assert {(n, r.passed, r.severity, r.description) for n, r in after.items()} == {
            (n, r.passed, r.severity, r.description) for n, r in before.items()
        }, case
        assert {name for name, result in after.items() if "not_evaluated_by" in result.metadata} == planned, case
        for repeated in map(after.__getitem__, planned):
            assert repeated.metadata["not_evaluated_by"].value == failed[1].run_id, case
            assert repeated.metadata["evaluated_at"].value < started, case
        assert loaded.press_materialize().success, case
        assert not any("not_evaluated_by" in result.metadata for result in loaded.results().values()), case


def test_the_button_does_what_the_job_does(home: Installation) -> None:
    home.lake.customers("", customer(1))
    home.lake.bookings("", booking(1, 1))
    result = home.press_materialize()
    assert result.success
    assert materialized(result) == TABLES | {"customer_bookings_csv"}
    checks = [(check.asset_key, check.check_name) for check in result.get_asset_check_evaluations()]
    assert len(checks) == len(set(checks)), "each check is evaluated once"
    assert home.shown_red() == set()
    run = home.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["pipeline"] == "bookings"
    assert materialized(home.press_materialize()) == set()


def test_runs_of_every_job_are_executed_in_process(tmp_path: Path) -> None:
    definitions = build_definitions(load_settings(home=tmp_path))
    jobs = [definitions.resolve_implicit_global_asset_job_def(), definitions.resolve_job_def("bookings")]
    assert {job.executor_def.name for job in jobs} == {"in_process"}
