"""What only Spark has: rows that an earlier attempt kept, names that look like patterns, its errors, its leavings."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import DataFrame

from pipeline_assets.engine.spark import state
from pipeline_assets.engine.spark.engine import SparkEngine
from pipeline_assets.engine.spark.session import spark_session
from pipeline_assets.errors import EngineError
from pipeline_assets_tests.integration.engine.test_glue_engine import content
from pipeline_assets_tests.integration.engine.test_spark_agrees import SPARK
from pipeline_assets_tests.integration.engine.test_versions import HEADER, known
from pipeline_assets_tests.support.delivered_orders import ORDERS, order, text
from pipeline_assets_tests.support.engine_session import NEVER, PEOPLE, VISITS, landed, reported, rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NAMES = "SELECT ID, NAME FROM people"


def test_a_home_whose_name_looks_like_a_pattern_is_a_folder_like_any_other(tmp_path: Path) -> None:
    """Spark takes every path to read for a pattern: it would find nothing, or the files of a folder beside it."""
    home = tmp_path / "it's {a,b} [1] 50%*?"
    home.mkdir()
    published = known(home, ("7", "Known", "x", 0))
    with SPARK.session(home / "scratch", NEVER) as session:
        session.read("people", PEOPLE, [landed(home / "p", f"{HEADER}\n1,Ada,\n{'2' * 9},bad,\n")])
        session.table("PUBLISHED", published)
        session.add_published("people", "SELECT * FROM PUBLISHED")
        session.deduplicate("people")

        assert rows(session, NAMES) == [("1", "Ada"), ("7", "Known")]
        assert [line for line, _, _ in reported(session, "people")] == [3]


def test_tasks_leave_nothing_on_the_disk(tmp_path: Path) -> None:
    """A worker lives as long as Spark does, so nothing but the task itself takes its files away."""
    files = [landed(tmp_path / "p.gz", gzip.compress(f"{HEADER}\n1,Ada,\n{'2' * 9},bad,\n".encode()))]
    files += [landed(tmp_path / "cut", b"\x1f\x8b\x08\x00broken"), landed(tmp_path / "odd", f'{HEADER}\n3,5" disk,\n')]
    scratch = tmp_path / "scratch"
    with SPARK.session(scratch, NEVER) as session:
        session.read("people", PEOPLE, files)
        session.deduplicate("people")
        assert len(list(session.bad_records("people"))) == 2

    assert list((scratch / "tasks").iterdir()) == []


@pytest.mark.parametrize("is_packed", [True, False])
def test_what_a_small_packed_file_unpacks_to_does_not_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_packed: bool
) -> None:
    """A megabyte of gzip may be a gigabyte of rows, more than the driver's memory holds."""
    in_memory: list[bool] = []
    keep = state.State.keep

    def noted(self: state.State, kept: DataFrame, uri: str) -> list[str]:
        in_memory.append(self._in_memory)
        return keep(self, kept, uri)

    monkeypatch.setattr(state.State, "keep", noted)
    numbers = random.Random(1)
    people = "".join(f"{number},{numbers.getrandbits(600)},\n" for number in range(3000)).encode()
    content = HEADER.encode() + b"\n" + people
    assert 200_000 < len(gzip.compress(content)) < len(content) < 4 << 20
    with SPARK.session(tmp_path / "scratch", NEVER) as session:
        file = landed(tmp_path / "p.GZ", gzip.compress(content)) if is_packed else landed(tmp_path / "p", content)
        session.read("people", PEOPLE, [file])
        session.deduplicate("people")
        assert len(rows(session, NAMES)) == 3000
    assert in_memory
    assert all(each is not is_packed for each in in_memory)


def test_a_task_does_not_read_the_archive_of_pyspark_again() -> None:
    """PySpark invalidates Python's import caches before each task; reading its archive again takes 0.1 s each time."""

    def archives(_: int) -> tuple[int, int]:
        import importlib
        import sys
        import zipimport

        read: list[str] = []
        theirs = zipimport._read_directory
        zipimport._read_directory = lambda archive: (read.append(archive), theirs(archive))[1]
        try:
            importlib.invalidate_caches()
        finally:
            zipimport._read_directory = theirs
        found = [each for each in sys.path_importer_cache.values() if isinstance(each, zipimport.zipimporter)]
        return len(found), len(read)

    tasks = spark_session(SPARK.master).sparkContext.parallelize([1], 1)
    ((archives_in_use, read_again),) = tasks.map(archives).collect()
    assert archives_in_use
    assert read_again == 0


def test_workers_are_forked_from_a_process_that_has_imported_what_tasks_use() -> None:
    """To import pandas and DuckDB in each worker takes it half a second."""
    code = """
import sys
from pyspark import daemon
from pipeline_assets.engine.spark.worker_daemon import main

daemon.manager = lambda: print(*sys.modules)
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    used = {"duckdb", "pandas", "pyarrow", "pipeline_assets.engine.distributed.split_reader"}
    assert used <= set(done.stdout.split())


def test_planning_what_a_json_batch_keeps_does_not_write_its_rules_out_many_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A condition that Spark pushes through every layer of the rules made a plan of 220,000 characters, in 6 s."""
    plans: dict[str, int] = {}
    kept = state.State.kept

    def measured(self: state.State, rows: DataFrame, uri: str) -> DataFrame:
        plans[Path(uri).name] = len(rows._jdf.queryExecution().optimizedPlan().toString())
        return kept(self, rows, uri)

    monkeypatch.setattr(state.State, "kept", measured)
    with SPARK.session(tmp_path / "scratch", NEVER) as session:
        session.read("orders", ORDERS, [landed(tmp_path / "o.json", text(order()))])
        session.deduplicate("orders")
        assert session.new_rows("orders") == 1
    assert {"first", "items"} <= plans.keys()
    assert max(plans.values()) < 30_000, plans


def test_what_spark_says_is_reported_on_one_line(tmp_path: Path) -> None:
    """It goes to logs and alerts; Spark adds the plan to a wrong statement, and a Java stack to a task's error."""

    def wrong_statement() -> None:
        with SPARK.session(tmp_path / "statement", NEVER) as session:
            session.read("people", PEOPLE, [])
            session.deduplicate("people")
            session.count("SELECT NOBODY FROM people")

    def failing_task() -> None:
        with SPARK.session(tmp_path / "task", NEVER) as session:
            file = landed(tmp_path / "there", HEADER)
            session.read("people", PEOPLE, [file])
            (tmp_path / "there").unlink()
            session.deduplicate("people")
            session.outcomes("people")

    for attempt, expected in ((wrong_statement, "NOBODY"), (failing_task, "there")):
        with pytest.raises(EngineError) as failed:
            attempt()
        assert "\n" not in str(failed.value)
        assert str(failed.value).startswith("Spark failed: ")
        assert expected in str(failed.value)
        assert str(failed.value).endswith("The state is intact; run again.")


def test_a_job_that_takes_over_what_was_read_tells_the_bad_rows_of_every_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are known by the part that they were in, so the files are cut once more; an irregular one is read whole."""
    regular = landed(tmp_path / "regular", content(200))
    irregular = landed(tmp_path / "irregular", content(200).replace("\nv150,", '\n 5" disk,1,,1\nv150,'), days=1)
    engine = SparkEngine(master=SPARK.master, split_bytes=1500)

    def attempt() -> list[tuple]:
        with engine.session(tmp_path / "scratch", NEVER) as session:
            session.read("people", PEOPLE, [landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n")])
            session.read("visits", VISITS, [regular, irregular])
            session.deduplicate("people")
            session.deduplicate("visits")
            return [(bad.landed.uri, bad.line, bad.raw, bad.code) for bad in session.bad_records("visits")]

    def load_kept(state: state.State, uri: str):  # as if the folder were in S3, where attempts share it
        return state._spark.read.parquet(uri) if Path(uri).exists() else None

    first = attempt()
    monkeypatch.setattr(state.State, "load_kept", load_kept)

    assert attempt() == first
    assert {uri: sum(bad[0] == uri for bad in first) > 10 for uri, *_ in first} == {
        regular.landed.uri: True,
        irregular.landed.uri: True,
    }
