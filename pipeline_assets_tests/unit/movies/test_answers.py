"""Answers are kept line by line: what was whole when the process died is there, what was cut is asked again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.movies.answers import Answers

ASKED = ["tt1", "", "a\nb ü", "tt2"]
RECORDS = {asked: [{"Title": asked, "Plot": "é\n"}, {"n": 1}] for asked in ASKED}


def write(path: Path, asked: list[str]) -> None:
    with closing(Answers(path)) as answers:
        for each in asked:
            answers.add(each, RECORDS[each])


@pytest.mark.parametrize("garbage", [b"", b"\0\0", b"null"])
def test_a_file_cut_anywhere_keeps_its_whole_answers_and_takes_more(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "answers.jsonl"
    write(path, ASKED)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut] + garbage)
        kept = max(0, whole[:cut].count(b"\n") - 1)  # the first line is the time of the first request
        with closing(Answers(path)) as answers:
            assert [each for each in ASKED if each in answers] == ASKED[:kept]
        write(path, ASKED[kept:])
        with closing(Answers(path)) as answers:
            for each in ASKED:
                assert list(answers.records(each)) == RECORDS[each]


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
