"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_assets_tests.bookings_lake import BookingsLake
from pipeline_assets_tests.moto_aws import KEYS, moto_server
from pipeline_assets_tests.orders_lake import OrdersLake

# The files that take longest, longest first: begun last, one of them would keep a single process busy at the end.
LONG = ("faults/test_crashes_of_", "scenarios/test_", "engine/test_glue", "engine/test_spark", "deployment/test_pro")
# They start Spark in the process of the tests; side by side, each would start and warm a Java of its own.
ON_SPARK = ("scenarios/test_engines_agree.py", "engine/test_spark_agrees.py", "engine/test_spark_engine.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files, others keep their order; a file stays in one process, those on Spark in the same."""

    def path(item: pytest.Item) -> str:
        return item.path.relative_to(Path(__file__).parent).as_posix()

    def rank(item: pytest.Item) -> int:
        return next((number for number, start in enumerate(LONG) if path(item).startswith(start)), len(LONG))

    items.sort(key=rank)
    for item in items:
        item.add_marker(pytest.mark.xdist_group("spark" if path(item) in ON_SPARK else path(item)))


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The endpoint of AWS as moto plays it."""
    with moto_server() as url:
        yield url


@pytest.fixture
def aws_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that an emulator takes."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


# No Java of a test lives long enough to gain from the slower compiler, which takes half of the processor meanwhile.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
pytest.register_assert_rewrite("pipeline_assets_tests.faults.crashes")  # its tests are in no test file
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def lake(tmp_path: Path) -> BookingsLake:
    """A home with the bookings pipeline, its tables empty."""
    return BookingsLake.with_tables(tmp_path / "home")


@pytest.fixture
def orders_lake(tmp_path: Path) -> OrdersLake:
    """A home with the orders pipeline, its tables empty."""
    return OrdersLake.with_tables(tmp_path / "home")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that nobody here wrote; tests that read it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not beside the checkout")
    return SHARED


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's environment must not reach a test."""
    for name in list(os.environ):
        if name.startswith(("PIPELINE_", "DAGSTER_HOME")):
            monkeypatch.delenv(name)
