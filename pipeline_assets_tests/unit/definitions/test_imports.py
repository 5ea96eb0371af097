"""What importing costs and who may import or read what."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import grimp

from pipeline_assets.settings import PROJECT_ROOT

# What takes long to import or talks to something.
HEAVY = {
    *("adbc_driver_snowflake", "boto3", "botocore", "dagster_aws", "dagster_pyspark", "dagster_snowflake", "duckdb"),
    *(
        "fakesnow",
        "matplotlib",
        "moto",
        "obstore",
        "openlineage",
        "pandas",
        "pyarrow",
        "pydantic_settings",
        "pyspark",
        "snowflake.connector",
    ),
    "sqlglot",
}


def python(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter without any environment, away from the checkout."""
    return subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        env={},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_importing_the_code_location_is_cheap_and_reads_no_environment(tmp_path: Path) -> None:
    """A missing region or password must not stop the code location from loading, nor a heavy library slow it."""
    done = python(
        "import json, sys; import pipeline_assets.definitions; print(json.dumps(sorted(sys.modules)))", tmp_path
    )

    assert done.returncode == 0, done.stderr
    assert HEAVY & set(json.loads(done.stdout)) == set()
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_none_of_it(tmp_path: Path) -> None:
    """A notebook pays when it connects, and a run worker never."""
    done = python(
        "import sys; from pipeline_assets import connect; print(*(m for m in sys.modules if 'pipeline' in m))", tmp_path
    )

    assert done.stdout.split() == ["pipeline_assets"], done.stderr


def test_definitions_are_built_without_any_environment(tmp_path: Path) -> None:
    """And without the libraries that talk to anything: nothing is opened until a run needs it."""
    done = python(
        "import json, sys\n"
        "from pipeline_assets.definitions import build_definitions\n"
        "from pipeline_assets.settings import load_settings\n"
        "local, aws = (build_definitions(load_settings(profile=p)) for p in ('local', 'aws'))\n"
        "assert set(local.resolve_all_asset_keys()) == set(aws.resolve_all_asset_keys())\n"
        "print(json.dumps(sorted(sys.modules)))",
        tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert HEAVY & set(json.loads(done.stdout)) == {"pydantic_settings", "sqlglot"}
    assert list(tmp_path.iterdir()) == []


def test_imports_point_downwards() -> None:
    """The layers are named in pyproject.toml."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", done.stdout)


# Dagster wants DAGSTER_HOME in the environment, so two write it or hand it on to a process; `dev` hands on the address
# of the catalog.
READERS_OF_THE_ENVIRONMENT = {
    "settings.py",
    "orchestration/execution.py",
    "engine/spark/session.py",
    "commands/dev.py",
}


@cache
def sources() -> dict[str, str]:
    """The text of each module of the package."""
    package = PROJECT_ROOT / "pipeline_assets"
    found = {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    assert len(found) > 100
    return found


def test_only_the_settings_read_the_environment() -> None:
    reads = re.compile(r"os\.environ|\bgetenv\b|\benviron\b|EnvVar\(")
    assert {name for name, text in sources().items() if reads.search(text)} <= READERS_OF_THE_ENVIRONMENT


def test_a_module_says_what_it_is_for() -> None:
    assert [name for name, text in sources().items() if text.strip() and not text.startswith('"""')] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    """Layers are for rooms (import-linter); within a room, too, one file is above the other. Late imports count."""
    graph = grimp.build_graph("pipeline_assets", exclude_type_checking_imports=True, cache_dir=None)
    circles = [
        f"{importer} -> {imported}"
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if graph.chain_exists(importer=imported, imported=importer)
    ]
    assert len(graph.modules) > 100
    assert circles == []
