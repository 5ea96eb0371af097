"""`pipeline-assets dev` as people start it: a process group with an empty environment and no network."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from pipeline_assets_tests.support import command_line
from pipeline_assets_tests.support.graphql import NO_ANSWER, ask
from pipeline_assets_tests.support.waiting import until

_RUNS = """SELECT run_id, pipeline_name, status FROM runs
  WHERE run_id IN (SELECT run_id FROM run_tags WHERE key = 'pipeline' AND value = ?) ORDER BY id DESC"""
_TICKS = """SELECT COUNT(*) FROM job_ticks
  WHERE json_extract(tick_body, '$.job_name') = ? AND status IN ('SKIPPED', 'SUCCESS')"""


class DagsterDev:
    """The UI, its code location and the daemon in one process group, logging to a file."""

    def __init__(self, home: Path, **settings: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = home / "dev.log"
        environment = command_line.environment(home, HOME=str(home))
        environment["PYTHONWARNINGS"] = "always"  # an option would not reach the processes of Dagster
        environment["PIPELINE_SENSOR_INTERVAL"] = "5"
        environment["PIPELINE_SCHEDULE"] = "0 0 29 2 *"  # the daily run would be one more at 5:15 UTC
        # A proxy that refuses stands in for no network: whatever is not on this machine cannot be reached.
        environment |= {
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
        } | settings
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline_assets.cli", "dev", "--port", str(self.port)],
            cwd=home,
            env=environment,
            stdout=open(self.log, "wb"),  # noqa: SIM115 - the child writes to it for as long as it lives
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as a shell does for `dev &`
        )

    def ask(self, query: str, **variables: object) -> dict:
        return ask(self.port, query, variables)

    def materialize(self, *tables: str) -> str:
        """Start a run of some tables of bookings, as the button of the UI does; returns its id."""
        selector = {
            "repositoryLocationName": "pipeline_assets",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": ["bookings", table]} for table in tables],
        }
        mutation = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
            __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
        parameters = {"selector": selector, "mode": "default", "runConfigData": {}}
        answer = self.ask(mutation, params=parameters)["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    # What tests wait for is read in the databases: a query through the web server costs ten times as much.

    def runs(self, pipeline: str) -> list[dict]:
        """The runs of a pipeline, those of backfills and of selected assets among them; newest first."""
        names = ("runId", "jobName", "status")
        return [dict(zip(names, row, strict=True)) for row in self._rows("history/runs.db", _RUNS, pipeline)]

    def ticks(self, sensor: str) -> int:
        """How many ticks of a sensor are through."""
        return self._rows("schedules/schedules.db", _TICKS, sensor)[0][0]

    def _rows(self, database: str, query: str, *values: str) -> list[tuple]:
        path = self.log.parent / "dagster" / database
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query, values).fetchall()

    def until(self, condition: Callable[[], Any], seconds: float) -> Any:
        """Wait for a condition; if it does not come, or this process has ended, show the end of the log."""
        return until(
            condition,
            seconds,
            pause=0.5,
            said=lambda: self.log.read_text()[-4000:],
            ended=lambda: self.process.poll() is not None,
            not_yet=NO_ANSWER,
        )

    def stop(self) -> int:
        """Ctrl-C, unless it has ended; returns the exit code, of SIGKILL if it would not end."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()


def is_served(url: str) -> bool:
    """Whether something listens at the address of a URL."""
    address, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    try:
        socket.create_connection((address, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def has_catalog(url: str) -> bool:
    """Whether the catalog is written; until then it answers with 503, and a browser would ask again."""
    try:
        with urlopen(url, timeout=60) as response:
            return b"<title>Data catalog</title>" in response.read()
    except HTTPError:
        return False
