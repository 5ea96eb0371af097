"""The CSV and the Parquet file of a snapshot have the same rows, whatever their texts are."""

from __future__ import annotations

import csv
import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.movies import extract
from pipeline_assets.movies.columns import COLUMNS, Row
from pipeline_assets.movies.extract import WrittenFiles, write_files
from pipeline_assets.movies.source import Snapshot

TEXTS = st.none() | st.text(st.sampled_from('",\r\n\t\0 aé🎬'), max_size=4) | st.text(max_size=4)
ROWS = st.lists(st.lists(TEXTS, min_size=26, max_size=26).map(tuple), max_size=5)


def written(folder: Path, *rows: Row) -> WrittenFiles:
    return write_files(Snapshot("test", datetime(2026, 1, 1, tzinfo=UTC), iter(rows)), folder)


def row(**values: str | None) -> Row:
    return tuple(values.get(name) for name in COLUMNS)


@settings(deadline=None)
@given(ROWS)
def test_any_texts_are_the_same_in_both_files(rows: list[Row]) -> None:
    with TemporaryDirectory() as name:
        files = written(Path(name), *rows)
        parquet = [tuple(found.values()) for found in pq.read_table(Path(name) / "movies.parquet").to_pylist()]
        data = (Path(name) / "movies.csv").read_bytes()
    assert parquet == rows
    header, *records = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    assert tuple(header) == COLUMNS
    assert records == [[text or "" for text in each] for each in rows]
    assert files.total == files.files[0].rows == files.files[1].rows == len(rows)
    assert files.digest == hashlib.sha256(data).hexdigest() == files.files[0].sha256


def test_null_is_an_empty_field_and_empty_text_is_quoted(tmp_path: Path) -> None:
    written(tmp_path, row(Title="", Year=None, Rated="N/A"))
    assert (tmp_path / "movies.csv").read_text().splitlines()[1] == '"",,"N/A"' + "," * 23


def test_another_value_null_or_order_is_another_digest(tmp_path: Path) -> None:
    one, other = row(imdbID="tt1"), row(imdbID="tt2")
    digests = {
        written(tmp_path, *rows).digest
        for rows in ([one, other], [other, one], [one], [row(imdbID="tt1", Plot="")], [row(imdbID="tt1", Plot="x")])
    }
    assert len(digests) == 5


def test_more_rows_than_a_chunk_are_all_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "ROWS_AT_A_TIME", 7)
    rows = [row(imdbID=f"tt{number}") for number in range(30)]
    assert written(tmp_path, *rows).total == 30
    assert pq.read_table(tmp_path / "movies.parquet").column("imdbID").to_pylist() == [f"tt{n}" for n in range(30)]
    assert len((tmp_path / "movies.csv").read_text().splitlines()) == 31
