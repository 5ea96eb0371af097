"""Which files get faults, which places in them do not, and which tests are asked first.

Everything that is left out is listed here, with its reason. Files are found by pattern, so modules may come and go.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE, TESTS = "pipeline_assets", "pipeline_assets_tests"

# Code that decides nothing about rows, files or tables.
LEFT_OUT = {
    f"{PACKAGE}/*.py": "settings, command line, console and composition: no data passes through them",
    f"{PACKAGE}/commands/*.py": "the commands: they call what has its own tests, and print",
    f"{PACKAGE}/deploy/*": "makes accounts, not tables; has its own tests against the template and the plan",
    f"{PACKAGE}/samples/*": "makes sample sources",
    f"{PACKAGE}/*/automation.py": "when a run starts, not what it does",
    f"{PACKAGE}/doctor/*.py": "`doctor` and messages about accounts",
    f"{PACKAGE}/batch/build_platform.py": "opens connections",
    f"{PACKAGE}/orchestration/pipes.py": "passes a job's log lines on",
    f"{PACKAGE}/orchestration/run_launcher.py": "starts processes",
    "sql/platform/*": "Snowflake's objects and privileges, which no emulator enforces",
}

# Places in Python in which a change is no fault, or none that a test should name.
#   annotations          evaluated by nobody at run time
#   docstrings, texts    wording: no operator changes a text, unless it holds SQL
#   imports              a missing name fails every test
#   `if TYPE_CHECKING`   never runs
#   raise …(…)           the wording of an error; that it is raised is a fault of its own (RemoveStatement)
#   decorators           caches are for speed, and everything else fails at import
#   __all__, __repr__    for people
#   strict=…             a second net under code whose lengths are equal by construction
#   assert               tells the type checker what the line above made sure of
#   numbers above 10     sizes, limits and times, where one more or less is no other behaviour
#   1 << 20              the same
#   log calls            wording
QUIET_KEYWORDS = {"strict", "description", "remedy", "timeout"}
QUIET_FUNCTIONS = {"__repr__", "__str__"}
LARGEST_NUMBER = 10
LOG_CALL = re.compile(r"(_?log|_?logger|context\.log|pipes\.log|warnings)\.\w+\(")


def files(root: Path = ROOT) -> list[str]:
    """The files that get faults, relative to the checkout, sorted."""
    found = [*(root / PACKAGE).rglob("*.py"), *(root / "sql").rglob("*.sql")]
    names = sorted(path.relative_to(root).as_posix() for path in found)
    return [name for name in names if not _is_left_out(name)]


def _is_left_out(name: str) -> bool:
    # fnmatch's * passes over slashes; a pattern is meant for its own depth, `/*` at its end for everything below.
    return any(
        fnmatch(name, pattern) and (pattern.endswith("/*") or name.count("/") == pattern.count("/"))
        for pattern in LEFT_OUT
    )


def group(name: str) -> str:
    """The package of a file, or `sql`; a sample draws from all of them in turn."""
    first, second, *_ = name.split("/")
    return "sql" if first == "sql" else second


def stages(name: str, root: Path = ROOT) -> list[list[str]]:
    """The test files for faults in a file, nearest and cheapest first; together all that could notice.

    Near is a test file that is named after the module or imports it by its full name.
    """
    folder = _TESTED_IN.get(name.rpartition("/")[0]) or name.split("/")[1]
    module = name.removesuffix(".py").replace("/", ".")
    stem = Path(name).stem
    tests = _test_files(root)

    def is_near(test: str) -> bool:
        if name.endswith(".sql"):
            return Path(test).parent.name == folder
        text = (root / test).read_text(encoding="utf-8")
        return re.search(rf"{re.escape(module)}\b", text) is not None

    own = {test for test in tests if Path(test).name.startswith(f"test_{stem}")}
    near = {test for test in tests if is_near(test)} | own
    beside = {test for test in tests if Path(test).parent.name == folder}
    tables = {test for test in tests if Path(test).name == "test_tables.py"}
    pipelines = {test for test in tests if _PIPELINE.search((root / test).read_text(encoding="utf-8"))}
    slow = {test for test in tests if _is_slow(test)}
    quick = set(tests) - slow
    wishes = (
        own & quick,
        near & quick,
        beside & quick,
        tables,
        near,
        pipelines & quick,
        quick,
        beside | pipelines,
        set(tests),
    )
    asked: set[str] = set()
    found = []
    for wish in wishes:
        found.append(sorted(wish - asked))
        asked |= wish
    return [stage for stage in found if stage]


# Where the tests of a folder of SQL are, if there is no folder of that name.
_TESTED_IN = {"sql/ops": "warehouse"}

_PIPELINE = re.compile(r"\b(bookings|orders|pipeline)_lake\b|\b(Bookings|Orders)Lake\b")

# Tests of other things, which would only cost time.
_NO_TESTS_OF_IT = ("benchmarks", "deploy", "mutation", "samples")


def _test_files(root: Path) -> list[str]:
    paths = (root / TESTS).rglob("test_*.py")
    names = sorted(path.relative_to(root).as_posix() for path in paths)
    return [name for name in names if not set(Path(name).parts) & set(_NO_TESTS_OF_IT)]


def _is_slow(test: str) -> bool:
    from pipeline_assets_tests.conftest import LONG

    return test.removeprefix(f"{TESTS}/").startswith(LONG)
