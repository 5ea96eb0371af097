"""In every dialect Spark makes of the same files what DuckDB makes of them: whole and in parts.

Each dialect is an input of its own, which takes Spark a second or two, so each goes through Spark once: in parts where
its files can be cut, else whole. `test_dialects_in_splits` reads every dialect in both ways as tasks do, without Spark;
what must be found in the files is asked of DuckDB in `test_dialects`. The Glue job has two dialects, in
`test_glue_engine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.engine import Session, SourceFile
from pipeline_assets.engine.spark.engine import SparkEngine
from pipeline_assets_tests.integration.engine.test_spark_agrees import DUCKDB, SPARK, compared, looked_at
from pipeline_assets_tests.support.dialect_files import BOM, CASES, DIALECTS, IN_PARTS, all_files, contract, written
from pipeline_assets_tests.support.engine_session import NEVER, PEOPLE, USUAL, VISITS, landed
from pipeline_assets_tests.unit.engine.test_dialects import visits_in, waiting_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


WHOLE = tuple(name for name in DIALECTS if name not in IN_PARTS)
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


@pytest.mark.parametrize(("split_bytes", "names"), [(None, WHOLE), (40, IN_PARTS)], ids=["whole", "in parts"])
def test_every_dialect_is_read_alike(tmp_path: Path, split_bytes: int | None, names: Sequence[str]) -> None:
    spark = SparkEngine(master="local[2]", split_bytes=split_bytes) if split_bytes else SPARK
    found = compared(reading(files_in(tmp_path, names)), spark=spark, policy=USUAL)
    for name in names:
        outcomes = found[f"{contract(name).name}: outcomes"]
        assert any(outcome["header_skipped"] for outcome in outcomes) is not DIALECTS[name].header
        assert len(found[contract(name).name]) > 20


def test_records_that_waited_are_read_again_alike(tmp_path: Path) -> None:
    """Set aside by DuckDB; that Spark sets aside the same is tested above."""
    visits = {n: replace(VISITS, name=f"visits_{turn}", dialect=DIALECTS[n]) for turn, n in enumerate(REPLAYED)}
    with DUCKDB.session(tmp_path / "scratch", NEVER) as session:
        session.read("people", PEOPLE, [landed(tmp_path / "p", "ID,NAME,NOTE\n")])
        session.deduplicate("people")
        for its in visits.values():
            session.read(its.name, its, [landed(tmp_path / its.name, visits_in(its.dialect))])
            session.deduplicate(its.name)
        aside = {name: list(session.bad_records(its.name)) for name, its in visits.items()}
    held = {}
    for name, its in visits.items():
        (folder := tmp_path / f"held-{its.name}").mkdir()
        held[name] = waiting_file(folder, its.dialect, aside[name])

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
