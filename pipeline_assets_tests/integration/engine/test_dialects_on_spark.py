"""In every dialect Spark makes of the same files what DuckDB makes of them: whole, in parts, and as the Glue job does.

One session takes all dialects, as starting a session costs seconds. Each is an input of its own, which takes another
second or two, so only the first test has all of them; the others have all values of each property. What must be found
in the files is asked of DuckDB in `test_dialects`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.engine import Session, SourceFile
from pipeline_assets.engine.spark.engine import SparkEngine
from pipeline_assets_tests.integration.engine.test_glue_engine import Stage, stage
from pipeline_assets_tests.integration.engine.test_spark_agrees import DUCKDB, SPARK, compared, looked_at
from pipeline_assets_tests.support.dialect_files import BOM, CASES, DIALECTS, IN_PARTS, all_files, contract, written
from pipeline_assets_tests.support.engine_session import NEVER, PEOPLE, USUAL, VISITS, landed
from pipeline_assets_tests.unit.engine.test_dialects import visits_in, waiting_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
__all__ = ["stage"]  # a fixture


# The others are read whole, which the first test covers; one of them is among these.
CUT = (*IN_PARTS, "UTF-16")
REPLAYED = ("backslashes without header", "windows-1252", "UTF-16", "a delimiter of two bytes")


def files_in(folder: Path, names: Sequence[str]) -> dict[str, list[SourceFile]]:
    """Every case in some dialects, and in each a file that is not of its encoding and one that is bad as a whole."""
    found = {}
    for turn, name in enumerate(names):
        dialect = DIALECTS[name]
        within = folder / name.replace(" ", "-")
        files = [file for file, _ in all_files(dialect, within, only=turn).values()]
        broken = written(CASES["plain"], dialect).content + b"3,\x81\x20,\xc3\xa9\xff\n"
        files += [landed(within / "broken", broken), landed(within / "empty", b""), landed(within / "mark", BOM)]
        files += [landed(within / "binary", bytes(range(256)) * 9)]
        files += [landed(within / "bad", written([(f"too long {n}", "", "") for n in range(25)], dialect).content)]
        found[name] = files
    return found


def reading(files: dict[str, list[SourceFile]]) -> Any:
    def work(session: Session, folder: Path) -> dict[str, Any]:
        for name, landed_files in files.items():
            session.read(contract(name).name, contract(name), landed_files)
            session.deduplicate(contract(name).name)
        names = [contract(name).name for name in files]
        return looked_at(session, names, {name: f"SELECT * FROM {name}" for name in names}, folder)

    return work


@pytest.mark.parametrize(("split_bytes", "names"), [(None, tuple(DIALECTS)), (40, CUT)], ids=["whole", "in parts"])
def test_every_dialect_is_read_alike(tmp_path: Path, split_bytes: int | None, names: Sequence[str]) -> None:
    spark = SparkEngine(master="local[2]", split_bytes=split_bytes) if split_bytes else SPARK
    found = compared(reading(files_in(tmp_path, names)), spark=spark, policy=USUAL)
    for name in names:
        outcomes = found[f"{contract(name).name}: outcomes"]
        assert any(outcome["header_skipped"] for outcome in outcomes) is not DIALECTS[name].header
        assert len(found[contract(name).name]) > 20


def test_records_that_waited_are_read_again_alike(tmp_path: Path) -> None:
    """Set aside by one engine or the other, and read again by both."""
    visits = {n: replace(VISITS, name=f"visits_{turn}", dialect=DIALECTS[n]) for turn, n in enumerate(REPLAYED)}
    files = {}
    for name, its in visits.items():
        files[name] = landed(tmp_path / its.name, visits_in(its.dialect))
    aside: list[dict[str, list]] = []

    def first(session: Session, folder: Path) -> dict[str, Any]:
        session.read("people", PEOPLE, [landed(tmp_path / "p", "ID,NAME,NOTE\n")])
        session.deduplicate("people")
        for name, its in visits.items():
            session.read(its.name, its, [files[name]])
            session.deduplicate(its.name)
        aside.append({name: list(session.bad_records(its.name)) for name, its in visits.items()})
        return looked_at(session, [its.name for its in visits.values()], {}, folder)

    compared(first, policy=NEVER)
    assert aside[0] == aside[1]
    held = {}
    for name, its in visits.items():
        (folder := tmp_path / f"held-{its.name}").mkdir()
        held[name] = waiting_file(folder, its.dialect, aside[0][name])

    def again(session: Session, folder: Path) -> dict[str, Any]:
        people = landed(tmp_path / "p", 'ID,NAME,NOTE\n"Q""\n\\",Ada,\n"é;\\,|\t¦",Bob,\n')
        session.read("people", PEOPLE, [people])
        session.deduplicate("people")
        for name, its in visits.items():
            session.read(its.name, its, [held[name]])
            session.deduplicate(its.name)
        names = [its.name for its in visits.values()]
        return looked_at(session, names, {name: f"SELECT * FROM {name}" for name in names}, folder)

    found = compared(again, policy=NEVER)
    for name, its in visits.items():
        (outcome,) = found[f"{its.name}: outcomes"]
        assert (outcome["loaded"], outcome["quarantined"], len(outcome["released"])) == (2, 2, 2), name


def test_a_glue_job_reads_dialects_alike(stage: Stage, tmp_path: Path) -> None:
    """The parts of an object are read from S3, with ranges; the job gets its contracts as JSON."""
    its = replace(contract("latin-1 without header"), name="lines")
    lines = [(str(n), f"Zoë; {n}\nMüller", "NULL" if n % 3 else "x") for n in range(400)]
    content = written([*lines, "2,few", ("too long a key", "", "")], its.dialect, uploaded=True).content
    backslashes = replace(contract("backslashes without header"), name="others")
    other = written([(str(n), 'a\\"b\n', "\\N") for n in range(400)], backslashes.dialect).content
    files = [landed(tmp_path / "lines", content), landed(tmp_path / "others", other)]
    in_s3 = [stage.landed(file) for file in files]
    locally = [SourceFile(file.path, there.landed) for file, there in zip(files, in_s3, strict=True)]
    found = {}
    for name, engine, (first, second) in (("glue", stage.engine, in_s3), ("duckdb", DUCKDB, locally)):
        folder = tmp_path / name
        folder.mkdir()
        with engine.session(folder / "scratch", NEVER) as session:
            for contract_, file in ((its, first), (backslashes, second)):
                session.read(contract_.name, contract_, [file])
                session.deduplicate(contract_.name)
            selects = {relation: f"SELECT * FROM {relation}" for relation in ("lines", "others")}
            found[name] = looked_at(session, ["lines", "others"], selects, folder)
    assert found["glue"] == found["duckdb"]
    assert (len(found["duckdb"]["lines"]), len(found["duckdb"]["others"])) == (400, 400)
    assert [bad["line"] for bad in found["duckdb"]["lines: bad"]] == [802, 803]
