"""The resource is imported without Snowpark, and whoever needs Snowpark all the same gets it."""

from __future__ import annotations

from pathlib import Path

from pipeline_assets_tests.support.command_line import run_code

FORGET = """
for name in [name for name in sys.modules if name.startswith({})]:
    del sys.modules[name]
"""
HEAVY = ("snowflake.snowpark", "snowflake.core")
ONLY_THE_RESOURCE = f"""
from pipeline_assets.warehouse.driver import snowflake_resource
made = snowflake_resource()(account="a", user="u", password="p")
assert snowflake_resource() is type(made)
loaded = [name for name in sys.modules if name.startswith({HEAVY})]
assert not loaded, loaded
"""
SNOWPARK_AFTER_ALL = """
import pytest
from dagster_snowflake import resources
from snowflake.snowpark import Session
assert resources.snowpark.Session.builder.__class__ is Session.builder.__class__
with pytest.raises(TypeError, match="missing"):
    resources.Root()  # the real one asks for a connection
"""
IMPORTED_BEFORE = """
import dagster_snowflake
assert dagster_snowflake.SnowflakeResource is not type(made)
assert snowflake_resource() is dagster_snowflake.SnowflakeResource
"""


def test_snowpark_is_imported_when_it_is_used_and_not_before(tmp_path: Path) -> None:
    steps = (
        "import sys",
        FORGET.format(("dagster_snowflake", *HEAVY)),
        *(ONLY_THE_RESOURCE, SNOWPARK_AFTER_ALL, FORGET.format("('dagster_snowflake',)"), IMPORTED_BEFORE),
    )
    done = run_code(tmp_path, "\n".join(steps))
    assert done.returncode == 0, done.stderr
