"""The zygote that crashes for the tests of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pipeline_assets_tests.support.pipeline_lake import PipelineLake
from pipeline_assets_tests.support.reviews_lake import ReviewsLake

ROOT = Path(__file__).resolve().parents[2]


class Zygote:
    """Orders crashes from the process in `zygote.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "pipeline_assets_tests.support.forking_server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")},
        )

    def order(
        self,
        lake: PipelineLake | ReviewsLake,
        kill_at: int | None = None,
        copies: Mapping[int, Path] | None = None,
        **request: object,
    ) -> dict:
        """Run one batch in a child; returns {"signal", "code"} and, when it survived, "trace".

        Before each boundary whose number is in `copies` the home is copied there.
        """
        trace = self.folder / "trace.json"
        trace.unlink(missing_ok=True)
        order = {
            "home": str(lake.home),
            "pipeline": lake.name,
            "kill_at": kill_at,
            "copies": {str(number): str(target) for number, target in (copies or {}).items()},
            "request": request,
            "trace": str(trace),
        }
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer | (json.loads(trace.read_text()) if trace.exists() else {})

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.close()
