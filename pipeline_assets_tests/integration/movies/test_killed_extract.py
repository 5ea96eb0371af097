"""An extract that is killed: the next one asks the API only for what was not answered."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from pipeline_assets_tests.support import warm_python
from pipeline_assets_tests.support.command_line import environment
from pipeline_assets_tests.support.movie_api import KEY, Reply, movie, movie_api
from pipeline_assets_tests.support.movies_extract import LANDING, archives, extracting_lake, manifest_of

ASKED = [f"tt{number}" for number in range(12)]


@pytest.mark.slow
def test_a_killed_extract_asks_only_for_the_rest_and_the_key_is_in_no_output(tmp_path: Path) -> None:
    reached, never = threading.Event(), threading.Event()

    def hold(number: int, asked: str) -> Reply | None:
        if number == 6:
            reached.set()
            return Reply(document=movie(asked), until=never)
        return None

    with movie_api() as api:
        api.rule = hold
        variables = {
            "PIPELINE_MOVIES_API_URL": api.url,
            "PIPELINE_MOVIES_API_KEY": KEY,
            "PIPELINE_MOVIES_API_IDS": ",".join(ASKED),
            "PIPELINE_MOVIES_API_RATE": "1000",
        }
        command = ["-m", "pipeline_assets_tests.support.movies_extract", str(tmp_path)]
        variables = environment(tmp_path / "home", **variables)
        with open(tmp_path / "output", "wb") as output:
            process = warm_python.start(command, env=variables, cwd=tmp_path, stdout=output, stderr=output)
            assert reached.wait(60)
            process.send_signal(signal.SIGKILL)
            assert process.wait(30) == -signal.SIGKILL
        never.set()
        assert not (tmp_path / "home" / LANDING).exists()
        assert api.asked == ASKED[:6]
        done = warm_python.run(command, env=variables, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert api.asked == [*ASKED[:6], *ASKED[5:]]
    (archive,) = archives(extracting_lake(tmp_path))
    assert manifest_of(archive).total_movies == len(ASKED)
    assert KEY not in (tmp_path / "output").read_text() + done.stdout + done.stderr
