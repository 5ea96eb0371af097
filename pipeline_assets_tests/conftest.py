"""Fixtures that several rooms share."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# What takes long to import is imported by fixtures: the process that only distributes the tests reads this file, too.
if TYPE_CHECKING:
    from fakesnow.instance import FakeSnow

    from pipeline_assets_tests.support.bookings_lake import BookingsLake
    from pipeline_assets_tests.support.demo_home import DemoHome
    from pipeline_assets_tests.support.orders_lake import OrdersLake

GIB = 2**30
IN_MEMORY = Path("/dev/shm")  # a file system of Linux


def _keep_temporary_files_in_memory() -> None:
    """Unless TMPDIR says where, or there is little room: to write to a disk takes a tenth of the processor's time."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    usable = os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > 8 * GIB and memory > 16 * GIB
    if usable and "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = tempfile.tempdir = str(IN_MEMORY)


_keep_temporary_files_in_memory()

# A fifth of a second for each example, Hypothesis' own limit, fails tests on a machine that is busy with others.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# The files that take longest, longest first: begun last, one of them would keep a single process busy at the end.
# With the first one begin all files on Spark, see ON_SPARK.
LONG = (
    "end_to_end/test_engines_agree.py",
    *("faults/test_crashes_of_", "end_to_end/test_", "integration/engine/test_glue", "integration/engine/test_spark"),
    "integration/engine/test_",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Share the rewriting of assertions, five seconds for all files, between the processes of a run.

    Each begins with another part of the files, and finds what the others have written by then.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None:
        return
    folders = [session.config.invocation_params.dir / argument.partition("::")[0] for argument in session.config.args]
    files = sorted(file for folder in folders for file in folder.rglob("test_*.py"))
    begin = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", False)  # it is set where a clone is used for one run
        for file in files[begin:] + files[:begin]:
            with suppress(Exception):  # the collection says which
                import_module(".".join(file.relative_to(session.config.rootpath).with_suffix("").parts))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files; all others keep their order."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((number for number, start in enumerate(LONG) if path.startswith(start)), len(LONG))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """What was imported and collected stays; no later collection of garbage has to look through it."""
    gc.collect()
    gc.freeze()


# The files with tests on Spark or on the Glue job: the first batch of a process takes five times as long as others.
ON_SPARK = (
    "end_to_end/test_engines_agree.py",
    "integration/engine/test_deduplicate_on_engines.py",
    "integration/engine/test_dialects_on_spark.py",
    "integration/engine/test_doubles_and_times.py",
    "integration/engine/test_extreme_values.py",
    "integration/engine/test_glue_engine.py",
    "integration/engine/test_hard_files.py",
    "integration/engine/test_parquet_agrees.py",
    "integration/engine/test_spark_agrees.py",
    "integration/engine/test_spark_deduplicates.py",
    "integration/engine/test_spark_engine.py",
    "integration/movies/test_star_schema.py",
    "integration/orders/test_computed_values.py",
    "integration/pipeline/test_histories.py",
    "integration/pipeline/test_names_that_need_quotes.py",
)

# The files with tests on the account of Snowflake in integration/warehouse/conftest.py, which takes seconds to deploy.
ON_SNOWFLAKE = (
    "integration/warehouse/test_account_diagnosis.py",
    "integration/warehouse/test_connect_account.py",
    "integration/warehouse/test_lost_connections.py",
    "integration/warehouse/test_snowflake_account.py",
    "integration/warehouse/test_snowpipe.py",
)


class _OneSpark(LoadFileScheduling):
    """One process for each file, but the same for all files on Spark, and for all on the account of Snowflake."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "on Spark" if file.endswith(ON_SPARK) else "on Snowflake" if file.endswith(ON_SNOWFLAKE) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling | None:
    """Distribute files as `--dist loadfile` does, with one Java for all tests on Spark."""
    return _OneSpark(config, log) if config.getvalue("dist") == "loadfile" else None  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def _services_of_aws_are_described_once() -> Iterator[None]:
    """Every session of boto3 parses the descriptions of its services by itself, a fifth of a second for each client."""
    import botocore.session
    from botocore.loaders import Loader

    loader = Loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda search_path: loader)
        yield


@pytest.fixture(scope="session", autouse=True)
def _storages_of_dagster_work_as_in_commands() -> None:
    """Also for the instances that tests make without `dagster_instance`."""
    from pipeline_assets.orchestration.sqlite_storages import keep_migrations_and_engines

    keep_migrations_and_engines()


@pytest.fixture(scope="session", autouse=True)
def _the_embedded_warehouse_has_one_thread() -> Iterator[None]:
    """Tests run small statements, for which a second thread takes a tenth more of the processor and is no help."""
    from pipeline_assets.warehouse import emulator_instance

    new_instance = emulator_instance._new_instance

    def with_one_thread() -> FakeSnow:
        instance = new_instance()
        instance.duck_conn.execute("SET threads = 1")
        return instance

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulator_instance, "_new_instance", with_one_thread)
        yield


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The endpoint of AWS as moto plays it."""
    from pipeline_assets_tests.support.moto_aws import moto_server

    with moto_server() as url:
        yield url


@pytest.fixture(scope="module", autouse=True)
def _every_file_finds_an_empty_account() -> Iterator[None]:
    """Else a file passes or fails by what ran before it in the same process."""
    from pipeline_assets_tests.support.moto_aws import forget_everything

    yield
    forget_everything()


@pytest.fixture(autouse=True)
def _loggers_keep_their_level() -> Iterator[None]:
    """A command that runs in this process changes some; a later test would miss what they log, or see more."""
    loggers = [logging.getLogger(name) for name in ("pipeline_assets", "pipeline_assets.alerts", "snowflake")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def aws_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that an emulator takes."""
    from pipeline_assets_tests.support.moto_aws import KEYS

    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


gc.set_threshold(50_000, 20, 100)  # as the command line has it
# No Java of a test lives long enough to gain from the slower compiler, which takes half of the processor meanwhile.
# To verify the classes of Spark takes a third of its first batch.
os.environ.setdefault(
    "JDK_JAVA_OPTIONS",
    "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote "
    # This compiler's code has 48 MB otherwise; the tests on Spark fill them, and Java compiles the same code again.
    "-XX:ReservedCodeCacheSize=256m -XX:MetaspaceSize=256m",
)
os.environ["COLUMNS"] = "200"  # tables are as wide as without a terminal, whoever runs the tests
pytest.register_assert_rewrite("pipeline_assets_tests.support.crashes")  # its tests are in no test file
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def lake(tmp_path: Path) -> BookingsLake:
    """A home with the bookings pipeline, its tables empty."""
    from pipeline_assets_tests.support.bookings_lake import BookingsLake

    return BookingsLake.with_tables(tmp_path / "home")


@pytest.fixture
def orders_lake(tmp_path: Path) -> OrdersLake:
    """A home with the orders pipeline, its tables empty."""
    from pipeline_assets_tests.support.orders_lake import OrdersLake

    return OrdersLake.with_tables(tmp_path / "home")


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> DemoHome:
    """A home that a small demo has filled; only copies of it are changed."""
    from pipeline_assets_tests.support.demo_home import demo_home

    return demo_home(tmp_path_factory)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that nobody here wrote; tests that read it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not beside the checkout")
    return SHARED


def _settings_in_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("PIPELINE_", "DAGSTER_HOME"))}


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    """A developer's environment must not reach a test, nor a fixture of a module, which is made before its tests'."""
    for name in _settings_in_environment():
        del os.environ[name]


@pytest.fixture(scope="module", autouse=True)
def _no_settings_left_by_fixtures() -> Iterator[None]:
    """What a fixture of one file sets, as a run in this process does, must not reach the next file."""
    before = _settings_in_environment()
    yield
    for name in _settings_in_environment():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _no_settings_left_behind() -> Iterator[None]:
    """What a run sets (DAGSTER_HOME) must not reach the next test: it would pass or fail by their order.

    Nor does a test see what a fixture of its module has set, for processes that it starts.
    """
    before = _settings_in_environment()
    for name in before:
        del os.environ[name]
    yield
    for name in _settings_in_environment():
        del os.environ[name]
    os.environ.update(before)
