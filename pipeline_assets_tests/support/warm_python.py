"""Python processes that have imported everything: a server imports it once and forks a child for each command.

`run` and `start` take what follows `python` on a command line, `-m MODULE …` or `-c CODE …`. A child has its own
environment, folder and streams (PYTHONUNBUFFERED and PYTHONIOENCODING too), and ends as any interpreter does; only what
else Python reads from the environment at its start (LC_ALL) has no effect. The package of another checkout, first in
PYTHONPATH, is imported by a server of its own, forked from this one, and anew when one of its files has changed. The
server imports and computes, as threads do not survive a fork.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

from pipeline_assets.orchestration.forked_runs import LIBRARIES

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipeline_assets", "pipeline_assets_tests")
# What commands import when they are called.
MODULES = (*LIBRARIES, "fakesnow")
OUR_MODULES = (
    *("pipeline_assets.cli", "pipeline_assets.definitions", "pipeline_assets.orchestration.execution"),
    *("pipeline_assets.batch.run", "pipeline_assets.commerce.producer", "pipeline_assets.lake.delivery"),
    *("pipeline_assets.engine.duckdb.engine", "pipeline_assets.warehouse.emulator", "pipeline_assets.doctor.run"),
    *("pipeline_assets.settings", "pipeline_assets.deploy.snowflake.apply", "pipeline_assets.samples"),
)

_starting = threading.Lock()


class WarmProcess:
    """A started command. `returncode` is negative for a signal, None until `wait` or `poll` has seen the end."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        return self._result(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code.

        Raises:
            subprocess.TimeoutExpired: the process runs after `timeout` seconds.
        """
        code = self._result(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _result(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = json.loads(self._status.recv(64))
            self._status.close()
        return self.returncode


def start(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdin: int = subprocess.DEVNULL,
    stdout: IO | int = subprocess.DEVNULL,
    stderr: IO | int = subprocess.DEVNULL,
) -> WarmProcess:
    """Start `python <arguments>`; streams are open files or their numbers."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with open(os.devnull, "r+b", buffering=0) as null, theirs:
        given = [null if stream == subprocess.DEVNULL else stream for stream in (stdin, stdout, stderr)]
        numbers = [stream if isinstance(stream, int) else stream.fileno() for stream in given]
        request = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd)}
        with _starting:
            server = _server()
        socket.send_fds(server, [json.dumps(request).encode()], [*numbers, theirs.fileno()])
    return WarmProcess(json.loads(ours.recv(64)), ours)


def run(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout: float = 120, **streams: Any
) -> subprocess.CompletedProcess[str]:
    """Run `python <arguments>` and return its exit code and what it wrote to streams that are not given."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = start(arguments, env=env, cwd=cwd, **({"stdout": out, "stderr": err} | streams))
        try:
            process.wait(timeout)
        except BaseException:
            process.send_signal(signal.SIGKILL)
            raise
        out.seek(0)
        err.seek(0)
        code = process.wait()
        return subprocess.CompletedProcess(list(arguments), code, out.read().decode(), err.read().decode())


@functools.cache
def _server() -> socket.socket:
    """A socket to the server of this process, which ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def end() -> None:
        ours.close()
        process.wait(timeout=30)

    atexit.register(end)
    return ours


def main() -> None:
    requests = socket.socket(fileno=int(sys.argv[1]))
    requests.set_inheritable(False)
    for module in MODULES:
        importlib.import_module(module)
    _import_ours()
    from alembic.script import ScriptDirectory
    from dagster._core.storage.sql import get_alembic_config

    from pipeline_assets.orchestration.plots import draw

    draw("line", "finds the fonts", ("X", "Y"), [(date(2024, 1, 1), 1)], datetime(2024, 1, 2))  # noqa: DTZ001
    ScriptDirectory.from_config(get_alembic_config(sys.modules["dagster._core.storage.runs"].__file__)).get_heads()
    _serve(requests, ROOT)


def _import_ours() -> None:
    for module in OUR_MODULES:
        importlib.import_module(module)
    from pipeline_assets.orchestration.sqlite_storages import keep_migrations_and_engines
    from pipeline_assets.pipelines import pipelines
    from pipeline_assets.warehouse.driver import snowflake_resource

    keep_migrations_and_engines()
    snowflake_resource()
    pipelines()
    gc.collect()


def _serve(requests: socket.socket, root: Path) -> NoReturn:
    """Run what is requested, with the package below `root`, until whoever requests has ended."""
    running: dict[int, tuple[int, int]] = {}  # by a file that becomes readable when the child ends: pid, status
    others: dict[Path, _Other] = {}
    while True:
        for ready in select.select([requests, *running], [], [])[0]:
            if ready is not requests:
                child, status = running.pop(ready)
                _send(status, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                os.close(status)
                os.close(ready)
                continue
            message, numbers, _, _ = socket.recv_fds(requests, 1 << 20, 4)
            if not message:
                for other in others.values():
                    other.end()
                os._exit(0)
            request = json.loads(message)
            gc.freeze()  # the children share this memory until they write to it
            first = Path(request["env"].get("PYTHONPATH", "").split(os.pathsep)[0] or ROOT).resolve()
            first = first if (first / "pipeline_assets").is_dir() else ROOT  # somebody's folder of other modules
            if first != root:
                socket.send_fds(_other(others, first).requests, [message], numbers)
                for number in numbers:
                    os.close(number)
                continue
            child = os.fork()
            if child == 0:
                _become(request, numbers)
            status = numbers.pop()
            for number in numbers:
                os.close(number)
            _send(status, child)
            running[os.pidfd_open(child)] = (child, status)


@dataclass(frozen=True)
class _Other:
    """The server of another checkout, which has imported its files as they were."""

    files: frozenset[tuple[str, int, int]]
    pid: int
    requests: socket.socket

    def end(self) -> None:
        self.requests.close()
        os.waitpid(self.pid, 0)


def _other(others: dict[Path, _Other], root: Path) -> _Other:
    """The server of the package below `root`, another one when a file of it has changed."""
    files = frozenset(
        (entry.path, entry.stat().st_mtime_ns, entry.stat().st_size)
        for folder in ("pipeline_assets", "sql")
        for entry in _files(root / folder)
    )
    if root in others and others[root].files != files:
        others.pop(root).end()
    if root not in others:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            for inherited in (ours, *(other.requests for other in others.values())):
                inherited.close()
            sys.path.insert(0, str(root))
            for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
                del sys.modules[name]
            _import_ours()
            _serve(theirs, root)
        theirs.close()
        others[root] = _Other(files, pid, ours)
    return others[root]


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(folder):
        if not entry.is_dir():
            yield entry
        elif entry.name != "__pycache__":
            yield from _files(Path(entry.path))


def _send(status: int, value: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever started the command has ended
        os.write(status, json.dumps(value).encode())


def _become(request: dict[str, Any], numbers: list[int]) -> NoReturn:
    """In the child: run what is requested and exit with its code."""
    environment = request["env"]
    encoding, unbuffered = environment.get("PYTHONIOENCODING", "utf-8"), "PYTHONUNBUFFERED" in environment
    for number, (name, mode) in enumerate((("stdin", "rb"), ("stdout", "wb"), ("stderr", "wb"))):
        os.dup2(numbers[number], number)
        errors = "backslashreplace" if name == "stderr" else None
        buffer = open(number, mode, buffering=0 if unbuffered and number else -1, closefd=False)  # noqa: SIM115
        setattr(sys, name, io.TextIOWrapper(buffer, encoding, errors, write_through=unbuffered))
    os.closerange(3, max(numbers) + 1)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(request["cwd"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    option, program, *arguments = request["arguments"]
    sys.argv = [option, *arguments]
    code: Any = 0
    try:
        if option == "-c":
            sys.modules["__main__"] = module = ModuleType("__main__")
            exec(compile(program, "<string>", "exec"), vars(module))
        else:
            sys.modules.pop(program, None)
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter shows it
        traceback.print_exc()
        code = 1
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    # What the interpreter does at its end, but for destroying every object, which takes a second.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120
    os._exit(code)


if __name__ == "__main__":
    main()
