"""The platform as production runs it: webserver, daemon and code server, three processes, with infra/*.yaml as it is,
except for how often the daemon looks: most of a test would be waiting for its next look.

PostgreSQL and the object store of the compute logs are real servers on this machine; the pipelines themselves work in
the local profile, as what is tested here is the instance. Each process leads a group of its own, as each would be a
container: killing the group of the code server kills the runs in it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline_assets_tests.support import warm_python
from pipeline_assets_tests.support.bookings_lake import BookingsLake
from pipeline_assets_tests.support.graphql import ask
from pipeline_assets_tests.support.postgres import PostgresServer, free_port
from pipeline_assets_tests.support.waiting import until

INFRA = Path(__file__).resolve().parents[2] / "infra"
# A program of Dagster's, as the leader of a group, which ends when the process that forked it does. What its runs are
# forked from is itself a fork, as it would import what this process has imported.
_PROGRAM = """
import contextlib, ctypes, os, sys
from importlib.metadata import entry_points
from multiprocessing import forkserver, util
os.setsid()
ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
def fork(path, arguments, passed):
    pid = os.fork()
    if pid == 0:
        for number in {*map(int, os.listdir("/proc/self/fd"))} - {0, 1, 2, *passed}:
            with contextlib.suppress(OSError):
                os.close(number)
        try:
            exec(arguments[-1], {})
        finally:
            os._exit(0)
    return pid
util.spawnv_passfds, spawn = fork, util.spawnv_passfds
forkserver.ensure_running()
util.spawnv_passfds = spawn
sys.argv[:1] = []
program, = entry_points(group="console_scripts", name=sys.argv[0])
sys.exit(program.load()())
"""
BUCKET, PREFIX = "compute-logs", "dagster"
# Seconds between two looks in infra/dagster.yaml; here it is one.
_LOOKS = {"dequeue_interval_seconds": 2, "user_code_failure_retry_delay": 10, "poll_interval_seconds": 10}

_LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
} }"""
_RUN = "runId jobName status startTime endTime tags { key value } "
_RUNS = f"{{ runsOrError {{ ... on Runs {{ results {{ {_RUN} }} }} }} }}"
_EVENTS = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection {
  events { __typename ... on MessageEvent { message } }
} } }"""


class Production:
    """The three processes over one home; `lake` is that home's bookings pipeline."""

    def __init__(self, home: Path, postgres: PostgresServer, s3_url: str) -> None:
        self.lake = BookingsLake.at(home)
        self.postgres = postgres
        self.logs = home / "process-logs"
        self.logs.mkdir()
        self.dagster_home = home / "dagster"
        instance = (INFRA / "dagster.yaml").read_text(encoding="utf-8")
        for name, seconds in _LOOKS.items():
            assert instance.count(f" {name}: {seconds}\n") == 1, name
            instance = instance.replace(f" {name}: {seconds}\n", f" {name}: 1\n")
        (self.dagster_home / "dagster.yaml").write_text(instance, encoding="utf-8")
        self.port, code_port = free_port(), free_port()
        self.environment = postgres.environment | {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(warm_python.ROOT),
            "HOME": str(home),
            "PIPELINE_HOME": str(home),
            "PIPELINE_SENSOR_INTERVAL": "5",
            "PIPELINE_SCHEDULE": "0 0 29 2 *",  # the daily run would be one more at 5:15 UTC
            "DAGSTER_HOME": str(self.dagster_home),
            "DAGSTER_CODE_SERVER_HOST": "127.0.0.1",
            "DAGSTER_CODE_SERVER_PORT": str(code_port),
            "DAGSTER_COMPUTE_LOGS_BUCKET": BUCKET,
            "DAGSTER_COMPUTE_LOGS_PREFIX": PREFIX,
            "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",  # what retries crashed runs
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL_S3": s3_url,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "not-to-be-shown-anywhere",
        }
        workspace, code = str(INFRA / "workspace.yaml"), ["-h", "127.0.0.1", "-p", str(code_port)]
        self.commands = {
            "code": ["dagster", "api", "grpc", "-m", "pipeline_assets.definitions", *code],
            "daemon": ["dagster-daemon", "run", "-w", workspace],
            "webserver": ["dagster-webserver", "-h", "127.0.0.1", "-p", str(self.port), "-w", workspace],
        }
        self.processes: dict[str, warm_python.WarmProcess] = {}
        self.stopping: list[warm_python.WarmProcess] = []

    def command(self, *command: str) -> subprocess.CompletedProcess[str]:
        """One command of Dagster's, as an operator runs it beside the processes."""
        return warm_python.run(["-c", _PROGRAM, *command], cwd=self.logs, env=self.environment)

    def start(self, name: str) -> None:
        with open(self.logs / name, "ab") as output:
            self.processes[name] = warm_python.start(
                ["-c", _PROGRAM, *self.commands[name]],
                cwd=self.logs,
                env=self.environment | {"PGAPPNAME": name},  # PostgreSQL knows by it whose a connection is
                stdout=output,
                stderr=output,
            )

    def kill(self, name: str) -> None:
        """What happens to a container whose machine goes away: SIGKILL for every process in it."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def tell_to_stop(self, name: str) -> warm_python.WarmProcess:
        """What `stop` does to a container: SIGTERM for its first process only."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        self.stopping.append(process)
        return process

    def stop(self) -> None:
        for process in self.stopping:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for process in self.processes.values():
            os.killpg(process.pid, signal.SIGTERM)
        for name, process in list(self.processes.items()):
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.kill(name)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        return ask(self.port, query, variables)

    def launch(self, job: str) -> str:
        """Put a run of a job into the queue, as the UI's button does."""
        selector = {
            "repositoryLocationName": "pipeline_assets",
            "repositoryName": "__repository__",
            "jobName": job,
        }
        answer = self.ask(_LAUNCH, params={"selector": selector, "runConfigData": {}})["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def runs(self, job: str | None = None) -> list[dict[str, Any]]:
        """Newest first; tags as a dictionary."""
        found = self.ask(_RUNS)["runsOrError"]["results"]
        for run in found:
            run["tags"] = {tag["key"]: tag["value"] for tag in run["tags"]}
        return [run for run in found if job in (None, run["jobName"])]

    def run(self, run_id: str) -> dict[str, Any]:
        return next(run for run in self.runs() if run["runId"] == run_id)

    def events(self, run_id: str) -> list[dict[str, Any]]:
        return self.ask(_EVENTS, id=run_id)["logsForRun"]["events"]

    def connections(self, name: str) -> list[tuple]:
        """What a process has used for more than three seconds."""
        query = "query_start > backend_start + INTERVAL '3 seconds'"
        return self.postgres.rows(f"SELECT pid FROM pg_stat_activity WHERE application_name = '{name}' AND {query}")

    # What tests wait for is read in the database: a query through the webserver costs ten times as much.

    def no_run_is_under_way(self) -> bool:
        return not self.postgres.rows("SELECT 1 FROM runs WHERE status NOT IN ('SUCCESS', 'FAILURE')")

    def tag(self, run_id: str, key: str) -> str | None:
        found = self.postgres.rows(f"SELECT value FROM run_tags WHERE run_id = '{run_id}' AND key = '{key}'")
        return found[0][0] if found else None

    def logged(self, run_id: str, pattern: str) -> re.Match[str] | None:
        """The first match in the log of a run."""
        events = self.postgres.rows(f"SELECT event FROM event_logs WHERE run_id = '{run_id}' ORDER BY id")
        return next(filter(None, (re.search(pattern, event) for (event,) in events)), None)

    def worker(self, run_id: str) -> int | None:
        """The process that executes a run, once it says so."""
        said = self.logged(run_id, r"Started process for run \(pid: (\d+)\)")
        return int(said[1]) if said else None

    def until(self, condition: Callable[[], Any], seconds: float = 240) -> Any:
        """Wait for a condition; when it does not come, or a process has gone, show what the processes wrote."""

        def gone() -> list[str]:
            return [name for name, process in self.processes.items() if process.poll() is not None]

        # Not listening yet, or an answer without data while the location loads.
        not_yet = (OSError, KeyError, TypeError)
        return until(
            condition,
            seconds,
            pause=0.5,
            said=lambda: f"Ended: {gone()}.\n{self._said()}",
            ended=gone,
            not_yet=not_yet,
        )

    def until_status(self, run_id: str, status: str, seconds: float = 240) -> dict[str, Any]:
        query = f"SELECT 1 FROM runs WHERE run_id = '{run_id}' AND status = '{status}'"
        self.until(lambda: self.postgres.rows(query), seconds)
        return self.run(run_id)

    def _said(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.logs.iterdir()))


@contextmanager
def production(home: Path, postgres: PostgresServer, s3_url: str) -> Iterator[Production]:
    """A database with Dagster's tables, then everything started and the code loaded, as docs/deploy.md says."""
    platform = Production(home, postgres, s3_url)
    platform.start("code")  # it needs no table to load the code
    migrated = platform.command("dagster", "instance", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    platform.start("daemon")
    platform.start("webserver")
    try:
        location = '{ workspaceLocationEntryOrError(name: "pipeline_assets") { ... on WorkspaceLocationEntry {'
        platform.until(
            lambda: (
                platform.ask(location + " locationOrLoadError { __typename } } } }")["workspaceLocationEntryOrError"][
                    "locationOrLoadError"
                ]["__typename"]
                == "RepositoryLocation"
            ),
            90,
        )
        yield platform
    finally:
        platform.stop()
