"""The commands of README.md and docs/: found in fenced `console` blocks, and run in order as a reader types them.

A block has commands (`$ …`, continued by lines that start with `> `) and, below each, lines that its output must
contain, in any order, as results and messages are two streams; `…` stands for anything. A command ends with 0 unless
`$ echo $?` follows it. A comment `<!-- not run: REASON -->` directly above a block excludes its commands from being
run; their names are tested anyway.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets_tests.support import warm_python
from pipeline_assets_tests.support.checkout import copy_checkout
from pipeline_assets_tests.support.postgres import free_port

BIN = Path(sys.executable).parent
PATIENCE = 900  # seconds for the commands of a page, on a machine that is busy with others
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n\n?)?^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
_LINES = re.compile("[─-╿]")  # of tables
# A program of the folder's own `bin`: it hands its words and streams to the process that runs the test.
_CLIENT = """\
import array, json, os, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect(os.environ["GUIDE_SERVER"])
request = json.dumps({"arguments": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd()}).encode()
server.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
code = json.loads(server.recv(64))
sys.exit(code if code >= 0 else 128 - code)
"""


@dataclass(frozen=True)
class Command:
    """A command of a page, the number of its line, and the lines that its output must contain."""

    page: str
    line: int
    text: str
    expected: tuple[str, ...]
    may_fail: bool = False  # `$ echo $?` follows, and says with which code


@dataclass(frozen=True)
class Block:
    """A fenced block; `reason` says why its commands are not run."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    def commands(self) -> list[Command]:
        """What follows `$ ` in a console block.

        Raises:
            ValueError: the block does not start with a command.
        """
        found: list[tuple[int, list[str], list[str]]] = []
        for number, line in enumerate(self.text.splitlines(), self.line + 1):
            if line.startswith("$ "):
                found.append((number, [line[2:]], []))
            elif not found:
                raise ValueError(f"{self.page}:{number}: a console block starts with `$ `")
            elif line.startswith("> ") and not found[-1][2]:
                found[-1][1].append(line[2:])
            elif line.strip():
                found[-1][2].append(line)
        following = [text for _, text, _ in found[1:]] + [[""]]
        return [
            Command(self.page, number, "\n".join(text), tuple(said), after == ["echo $?"])
            for (number, text, said), after in zip(found, following, strict=True)
        ]


def pages() -> list[str]:
    """Every page of the site, by its path in the project."""
    docs = sorted(path.relative_to(PROJECT_ROOT).as_posix() for path in (PROJECT_ROOT / "docs").glob("*.md"))
    return ["README.md", "CONTRIBUTING.md", *docs]


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    text = (PROJECT_ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("language")) + 1,
            found["language"],
            re.sub(rf"(?m)^{found['indent']}", "", found["text"]),
            found["reason"],
        )
        for found in _BLOCK.finditer(text)
    ]


def commands_to_run(page: str) -> list[Command]:
    return [c for b in blocks(page) if b.language == "console" and b.reason is None for c in b.commands()]


class GuideError(AssertionError):
    """A command of a page does not do what the page says; the message has its place and its output."""


class Checkout:
    """A copy of the project in which the commands of pages are typed, with `make`, `.venv` and a home of its own."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder, self._server = copy_checkout(folder), server
        for name in ("Makefile", "constraints.txt", "README.md"):
            shutil.copy(PROJECT_ROOT / name, folder / name)
        self._programs = programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        (folder / "client.py").write_text(_CLIENT)
        client = f"{sys.executable} -I -S {folder / 'client.py'}"
        _program(programs / "pipeline-assets", f'exec {client} -m pipeline_assets.cli "$@"')
        _program(programs / "python", f'exec {client} "$@"')
        for name in ("dagster", "dagster-webserver"):
            _program(programs / name, f'exec {BIN / name} "$@"')
        (programs / "activate").write_text(f"PATH={programs}:$PATH\n")
        (folder / ".venv" / ".installed").touch()  # newer than pyproject.toml, so that make installs nothing

    def run(self, commands: Sequence[Command]) -> None:
        """Type commands one after another into one shell.

        Raises:
            GuideError: one ends with another code, or says something else, than its page says.
        """
        port = str(free_port())  # in place of 3001, which another test may use
        with tempfile.TemporaryDirectory() as name:
            results = Path(name)
            script = ["trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT", "code=0"]
            for number, command in enumerate(commands):
                text = command.text.replace("3001", port)
                script.append(f"(exit $code)\n{{ {text}\n}} >{results}/{number}.out 2>&1 </dev/null\ncode=$?")
                script.append(f"echo $code >{results}/{number}.code")
                script += [] if command.may_fail else ["[ $code = 0 ] || exit 1"]
            environment = {
                "PATH": f"{self._programs}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "PYTHONPATH": str(self.folder),
                "GUIDE_SERVER": str(self._server),
                "COLUMNS": "120",
            }
            streams = {"stdin": subprocess.PIPE, "text": True}
            shell = subprocess.Popen(["bash"], cwd=self.folder, env=environment, start_new_session=True, **streams)
            with suppress(subprocess.TimeoutExpired):  # the command that did not end is named below
                shell.communicate("\n".join(script), timeout=PATIENCE)
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
            for number, command in enumerate(commands):
                _compare(command, results / f"{number}.out", results / f"{number}.code", port)


@contextmanager
def warm_commands(folder: Path) -> Iterator[Path]:
    """A socket by which programs of a `Checkout` run Python in processes that have imported everything."""
    address = folder / "commands"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(address))
        server.listen()
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield address
        server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:  # it was shut down
            return
        threading.Thread(target=_run, args=(client,), daemon=True).start()


def _run(client: socket.socket) -> None:
    with client:
        message, streams, _, _ = socket.recv_fds(client, 1 << 20, 3)
        request = json.loads(message)
        process = warm_python.start(
            request["arguments"],
            env=request["env"],
            cwd=Path(request["cwd"]),
            **dict(zip(("stdin", "stdout", "stderr"), streams, strict=True)),
        )
        for stream in streams:
            os.close(stream)
        client.send(json.dumps(process.wait()).encode())


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def _compare(command: Command, out: Path, code: Path, port: str) -> None:
    place = f"{command.page}:{command.line}: $ {command.text}"
    if not out.exists():
        raise GuideError(f"{place}\nwas not reached")
    said = " ".join(_LINES.sub(" ", out.read_text(errors="replace")).replace(port, "3001").split())
    if not code.exists():
        raise GuideError(f"{place}\nended the shell, or did not end: {said[-3000:]}")
    ended = code.read_text().strip()
    for line in command.expected:
        pattern = ".*?".join(re.escape(" ".join(part.split())) for part in line.split("…"))
        if not re.search(pattern, said):
            raise GuideError(f"{place}\nends with {ended} and does not say {line!r}: {said[-3000:]}")
    if ended != "0" and not command.may_fail:
        raise GuideError(f"{place}\nends with {ended}: {said[-3000:]}")
