"""Spark and DuckDB make the same of the same Parquet files, also beside CSV files and for replayed records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_assets.contracts.model import Dialect
from pipeline_assets.engine.spark.engine import SparkEngine
from pipeline_assets_tests.integration.engine.test_spark_agrees import SPARK, compared, reading
from pipeline_assets_tests.support.engine_session import NEVER, PEOPLE, landed, on_engine, read
from pipeline_assets_tests.support.parquet_files import (
    KINDS_OF_VALUES,
    SALES,
    check_cases,
    every_case,
    parquet,
    replay,
    sales,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
KINDS = pa.table({"name": ["x" * n for n in (12, 13, 13)]} | KINDS_OF_VALUES)


def test_every_type_is_read_exactly_or_quarantined_on_spark(tmp_path: Path) -> None:
    with on_engine(SPARK):
        check_cases(tmp_path, every_case())


def test_parquet_beside_csv_and_replayed_records_are_read_alike(tmp_path: Path) -> None:
    """Only the values of CSV files are cleaned, and only they have a text that means NULL."""
    contract = replace(SALES, dialect=Dialect(null_text="NA"))
    _, bad, _ = read(contract, parquet(tmp_path / "a.parquet", KINDS), policy=NEVER)
    csv = "NAME,AMOUNT,KIND,x\n a ,NA, b ,1\n,2,a,\nz,1.5,,NA\nNA,x,c,\n"
    values = sales(NAME=[" a ", "NA", "", None], KIND=[None, " b ", "a", "b"])
    files = [
        landed(tmp_path / "a.csv", csv),
        parquet(tmp_path / "b.parquet", values, days=1),
        parquet(tmp_path / "c.parquet", KINDS),
        replay(tmp_path, contract, bad),
    ]
    found = compared(reading(contract, files), policy=NEVER)
    names = [row["NAME"] for row in found["rows"]]
    assert sorted(names) == sorted(["a", "z", " a ", "", "x" * 12])
    mended = replace(contract, columns=(replace(contract.columns[0], max_length=None), *contract.columns[1:]))
    assert len(compared(reading(mended, files), policy=NEVER)["rows"]) == 9


def test_rejected_parquet_files_are_reported_alike(tmp_path: Path) -> None:
    good = parquet(tmp_path / "good.parquet", pa.table({"ID": ["1", "2"]}))
    content = (tmp_path / "good.parquet").read_bytes()
    twice = pa.Table.from_arrays([pa.array(["1"])] * 2, names=["ID", "id"])
    files = [
        good,
        landed(tmp_path / "cut.parquet", content[:-9]),
        landed(tmp_path / "flip.parquet", content[:30] + b"\xff" * 30 + content[60:]),
        landed(tmp_path / "text.parquet", "ID\n1\n"),
        parquet(tmp_path / "twice.parquet", twice),
        parquet(tmp_path / "other.parquet", pa.table({"X": [1, 2, 3]})),
        parquet(tmp_path / "bad.parquet", pa.table({"ID": [f"{n}{'x' * 9 * (n % 3 > 0)}" for n in range(30)]})),
        parquet(tmp_path / "none.parquet", pa.table({"ID": pa.array([], pa.string())})),
    ]
    found = compared(reading(PEOPLE, files))
    codes = [outcome["rejection"] and outcome["rejection"]["code"] for outcome in found["people: outcomes"]]
    assert sorted(filter(None, codes)) == sorted(
        ["unreadable_object"] * 3 + ["malformed_header", "missing_column", "too_many_bad_rows"]
    )


def test_a_large_parquet_file_is_not_cut_by_bytes(tmp_path: Path) -> None:
    table = pa.table({"ID": [str(n) for n in range(5_000)], "NAME": ["x"] * 4_999 + ["y" * 201]})
    file = parquet(tmp_path / "a.parquet", table, row_group_size=700)
    with on_engine(SparkEngine(master="local[2]", split_bytes=1_000)):
        found, bad, _ = read(PEOPLE, file)
    assert (len(found), [(record.line, record.code) for record in bad]) == (4_999, [(5_000, "too_long")])
