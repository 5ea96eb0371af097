"""The resource is imported without Snowpark, and whoever needs Snowpark all the same gets it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = "[name for name in sys.modules if name.startswith(('snowflake.snowpark', 'snowflake.core'))]"
ONLY_THE_RESOURCE = f"""
import sys
from pipeline_assets.warehouse.driver import snowflake_resource
made = snowflake_resource()(account="a", user="u", password="p")
assert snowflake_resource() is type(made)
assert not {HEAVY}, {HEAVY}
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
from pipeline_assets.warehouse.driver import snowflake_resource
assert snowflake_resource() is dagster_snowflake.SnowflakeResource
"""


@pytest.mark.parametrize(
    "script",
    [ONLY_THE_RESOURCE, ONLY_THE_RESOURCE + SNOWPARK_AFTER_ALL, IMPORTED_BEFORE],
    ids=["only the resource", "Snowpark after all", "imported before"],
)
def test_snowpark_is_imported_when_it_is_used_and_not_before(script: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
