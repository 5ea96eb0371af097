"""Lists in a column come from outside: any text yields elements or one record that will be quarantined, no error."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.batch.list_columns import write_list_records
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.pipeline.value import ListColumn
from pipeline_assets_tests.support.movies_lake import contract, csv_bytes, movie, ratings

LISTED = ListColumn("ratings", of="movies", column="RATINGS")


def written(folder: Path, file: Path) -> list[list[str]]:
    """The records without the header."""
    write_list_records(file, contract("movies"), LISTED, contract("ratings"), folder / "ratings.csv", set)
    with open(folder / "ratings.csv", encoding="utf-8", newline="") as opened:
        return list(csv.reader(io.StringIO(opened.read(), newline="")))[1:]


def listed(folder: Path, *texts: str) -> list[list[str]]:
    """The records of movies with these lists."""
    (folder / "movies.csv").write_bytes(csv_bytes([movie(n, Ratings=text) for n, text in enumerate(texts)]))
    return written(folder, folder / "movies.csv")


@pytest.mark.parametrize(
    "text",
    [
        "{[]}",
        "{{}: 1}",
        "[{'Source': 'X', 'Value': {b'a': 1}}]",
        "[{'Source': 'X', 'Value': {(1, 2): 1}}]",
        f"[{{'Source': 'X', 'Value': 0x{'f' * 5000}}}]",
        "[" * 100_000,
        "-" * 100_000 + "1",
        "1" + "+1" * 40_000,
        "x" + "[0]" * 40_000,
        "__import__('os').getcwd()",
        '[{"Source": "X", "Value": "9/10"}, 1]',
        '{"Source": "X", "Value": "9/10"}',
    ],
)
def test_a_text_that_is_no_list_of_objects_becomes_one_record_with_it(tmp_path: Path, text: str) -> None:
    assert listed(tmp_path, text) == [["tt0000000", "Movie 0", "", text]]


def test_an_element_keeps_line_ends_and_escapes_half_a_surrogate_pair(tmp_path: Path) -> None:
    texts = ['[{"Source": "X", "Value": "\\ud800"}]', '[{"Source": "a\\rb", "Value": "c\\r\\nd"}]']

    assert [record[2:] for record in listed(tmp_path, *texts)] == [["X", "\\ud800"], ["a\rb", "c\r\nd"]]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="[]{}()'\":,.0x1e+-\\u dSourceValue", max_size=40) | _VALUES.map(repr), max_size=4))
def test_any_texts_can_be_read(tmp_path_factory: pytest.TempPathFactory, texts: Sequence[str]) -> None:
    for record in listed(tmp_path_factory.mktemp("any"), *texts):
        assert len(record) in (4, 5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.fixed_dictionaries({"Source": st.text(min_size=1), "Value": st.text(min_size=1)}), max_size=4))
def test_elements_of_json_come_out_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, elements: Sequence[Mapping[str, str]]
) -> None:
    records = listed(tmp_path_factory.mktemp("json"), json.dumps(elements))

    expected = [[e["Source"], e["Value"]] for e in elements if e["Value"].strip() not in ("", "N/A")]
    assert [record[2:4] for record in records] == expected


@pytest.mark.parametrize(
    ("values", "others"),
    [
        (["8/10", "8/10"], None),
        (["8/10", "9/10"], ["9/10", "8/10"]),
        (["8/10", "9/10", "8/10", "A+"], ["9/10; A+", "8/10; A+", "9/10; A+", "8/10; 9/10"]),
        (["8/10", "N/A", ""], None),
    ],
)
def test_elements_of_a_key_with_several_values_have_the_others_in_a_column(
    tmp_path: Path, values: list[str], others: list[str] | None
) -> None:
    once = [("B", "1/10")]
    records = listed(tmp_path, ratings(*once), ratings(*(("A", value) for value in values), *once))

    assert [record[4:] for record in records] == (
        [[]] * len(records) if others is None else [[""], *([other] for other in others), [""]]
    )


def _damaged_pages(path: Path) -> None:
    table = pa.table({"imdbID": ["tt1"] * 5000, "Ratings": [str(n) for n in range(5000)]})
    pq.write_table(table, path, compression="snappy", use_dictionary=False)
    with open(path, "r+b") as file:
        file.seek(200)
        file.write(b"\xff" * 2000)


def _wrong_text(path: Path) -> None:
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    pq.write_table(pa.table({"imdbID": ["tt1"], "Ratings": broken}), path)


def _late_time(path: Path) -> None:
    pq.write_table(pa.table({"imdbID": ["tt1"], "Ratings": pa.array([2**60], pa.timestamp("ms"))}), path)


@pytest.mark.parametrize("write", [_damaged_pages, _wrong_text, _late_time])
def test_a_parquet_file_that_cannot_be_read_is_rejected(tmp_path: Path, write: object) -> None:
    write(tmp_path / "movies.parquet")  # type: ignore[operator]

    with pytest.raises(RejectedObjectError, match=r"movies\.parquet is not a readable Parquet file"):
        written(tmp_path, tmp_path / "movies.parquet")
