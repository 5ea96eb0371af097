"""A process keeps one instance of DuckDB; nothing of one session is in the next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pipeline_assets import duckdb_session as sessions
from pipeline_assets.duckdb_session import duckdb_session

_CHANGEABLE = ("memory_limit", "threads", "temp_directory", "preserve_insertion_order", "TimeZone", "async_threads")
_OBJECTS = (
    *("duckdb_tables()", "duckdb_views() WHERE NOT internal", "duckdb_variables()", "duckdb_temporary_files()"),
    *("duckdb_functions() WHERE NOT internal", "duckdb_memory() WHERE memory_usage_bytes > 0"),
)


@pytest.fixture(autouse=True)
def _no_instance_is_idle() -> None:
    sessions._close_idle()


def state(connection: duckdb.DuckDBPyConnection) -> list[object]:
    settings = [connection.execute("SELECT current_setting(?)", [name]).fetchall() for name in _CHANGEABLE]
    return [*settings, *(connection.execute(f"SELECT COUNT(*) FROM {found}").fetchall() for found in _OBJECTS)]


def test_a_session_finds_nothing_of_the_one_before(tmp_path: Path) -> None:
    with duckdb_session(tmp_path, "1GB") as connection:
        new = state(connection)
    with duckdb_session(tmp_path / "other", "100MB", threads=1) as connection:
        connection.execute(
            "CREATE TEMP TABLE t AS FROM range(100000); CREATE TEMP VIEW v AS FROM t; SET VARIABLE x = 1"
        )
        connection.execute("SET GLOBAL TimeZone = 'Asia/Tokyo'; SET preserve_insertion_order = false")
        changed = state(connection)
    with duckdb_session(tmp_path, "1GB") as connection:
        found = state(connection)

    assert changed != new
    assert found == new


def test_sessions_one_after_another_share_an_instance_and_those_at_once_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, made = duckdb.connect, []
    monkeypatch.setattr(duckdb, "connect", lambda *given, **config: made.append(1) or connect(*given, **config))
    for _ in range(3):
        with duckdb_session(tmp_path, "1GB"):
            pass
    assert len(made) == 1

    with duckdb_session(tmp_path, "1GB") as outer, duckdb_session(tmp_path / "inner", "100MB") as inner:
        assert state(outer)[0] != state(inner)[0]
    assert len(made) == 2


def test_after_a_session_that_spilled_the_next_one_spills_into_its_own_folder(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with duckdb_session(tmp_path / name, "20MB") as connection:
            connection.execute("CREATE TEMP TABLE t AS SELECT i, md5(i::VARCHAR) AS s FROM range(500_000) AS r (i)")
            assert any((tmp_path / name).iterdir())
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_instance_is_not_used_again_after_an_error(error: type[BaseException], tmp_path: Path) -> None:
    def fail() -> None:
        with duckdb_session(tmp_path, "1GB"):
            raise error

    with pytest.raises(error):
        fail()
    assert not sessions._idle


def test_a_forked_process_makes_an_instance_of_its_own_and_ends_in_silence(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from pipeline_assets.duckdb_session import duckdb_session

def use():
    with duckdb_session(Path(sys.argv[1]), "1GB") as connection:
        return connection.execute("SELECT SUM(range) FROM range(1000000)").fetchall()

use()
child = os.fork()
use()
os.write(1, b"parent\\n" if child else b"child\\n")
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert (sorted(ended.stdout.split()), ended.stderr, ended.returncode) == (["child", "parent"], "", 0)
