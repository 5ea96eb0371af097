"""Answers are kept line by line: what was whole when the process died is there, what was cut is asked again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.movies.answers import Answers

ASKED = ["tt1", "", "a\nb ü", "tt2"]


def write(path: Path, asked: list[str]) -> None:
    with closing(Answers(path)) as answers:
        for each in asked:
            answers.add(each, [{"Title": each, "Plot": "é\n"}, {"n": 1}])


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.binary(max_size=20))
def test_a_file_cut_anywhere_keeps_its_whole_answers_and_takes_more(share: float, garbage: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "answers.jsonl"
        write(path, ASKED)
        whole = path.read_bytes()
        cut = int(len(whole) * share)
        kept = max(0, whole[:cut].count(b"\n") - 1)  # the first line is the time of the first request
        path.write_bytes(whole[:cut] + garbage.replace(b"\n", b"") if cut < len(whole) else whole)
        with closing(Answers(path)) as answers:
            assert [each for each in ASKED if each in answers] == ASKED[:kept]
        write(path, ASKED[kept:])
        with closing(Answers(path)) as answers:
            for each in ASKED:
                assert list(answers.records(each)) == [{"Title": each, "Plot": "é\n"}, {"n": 1}]


def test_the_time_is_that_of_the_first_request(tmp_path: Path) -> None:
    times = set()
    for _ in range(2):
        with closing(Answers(tmp_path / "answers.jsonl")) as answers:
            times.add(answers.started_at)
    assert len(times) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"answers\.jsonl: "):
        Answers(tmp_path / "file" / "answers.jsonl")
