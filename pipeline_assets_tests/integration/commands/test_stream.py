"""`pipeline-assets stream` as a process: signals, a second producer, mistakes, and how little it imports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline_assets_tests.support import warm_python
from pipeline_assets_tests.support.command_line import CLI, environment, process
from pipeline_assets_tests.support.waiting import until

NOBODY = 65534
LANDING = "lake/commerce-stream/firehose/customers/landing"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "sources" / "commerce").mkdir(parents=True)
    return tmp_path / "home"


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return process(home, "stream", *arguments, env=environment(home, **variables))


@contextmanager
def running(home: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A producer in an interpreter of its own, as it gets signals."""
    command = [sys.executable, *CLI, "stream"]
    process = subprocess.Popen(command, env=environment(home, **variables), cwd=home, stdout=-1, stderr=-1, text=True)
    try:
        until(lambda: checkpoint(home).exists() or process.poll() is not None)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate(timeout=30)


def checkpoint(home: Path) -> Path:
    return home / "sources" / "commerce" / "producer" / "checkpoint.json"


def append(home: Path, text: str, name: str = "customers.csv") -> None:
    with open(home / "sources" / "commerce" / name, "a") as file:
        file.write(text)


def landed(home: Path) -> str:
    return "".join(path.read_text() for path in sorted((home / LANDING).rglob("*")) if path.is_file())


def followed(home: Path) -> list[dict]:
    return json.loads(checkpoint(home).read_text())["files"].get("customers", [])


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 0, ""), (signal.SIGINT, 130, "Stopped. The state is intact; run again to finish.\n")],
)
def test_a_stopped_producer_delivers_its_buffer_and_a_new_one_goes_on(
    home: Path, number: signal.Signals, code: int, said: str
) -> None:
    append(home, "1,a\n")
    with running(home, PIPELINE_STREAM_BUFFER_SECONDS="900") as process:
        until(lambda: followed(home))  # so the file was read
        assert landed(home) == ""
        process.send_signal(number)
        out, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, said)
    assert out == "customers: 1 records, 4 bytes delivered\norders: 0 records, 0 bytes delivered\n"
    assert landed(home) == "1,a\n"
    append(home, "2,b\n")
    done = run(home, "--once")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(landed(home).splitlines()) == ["1,a", "2,b"]


def test_what_is_appended_lands_while_the_producer_runs(home: Path) -> None:
    with running(home, PIPELINE_STREAM_BUFFER_SECONDS="0") as process:
        append(home, "1,a\n")
        until(lambda: landed(home) == "1,a\n")
        append(home, "2,b\n", "customers-2.csv")
        until(lambda: sorted(landed(home).splitlines()) == ["1,a", "2,b"])
        assert process.poll() is None


def test_a_second_producer_says_that_there_is_one(home: Path) -> None:
    with running(home):
        for arguments in ((), ("--once",)):
            done = run(home, *arguments)
            assert done.returncode == 2
            assert done.stderr.startswith("error: Another producer uses the checkpoint in ")
            assert done.stderr.count("\n") == 1


def test_once_without_files_succeeds_and_makes_the_default_folder(tmp_path: Path) -> None:
    done = run(tmp_path, "--once", PIPELINE_HOME=str(tmp_path / "new"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "new" / "sources" / "commerce").is_dir()


def watch(**paths: object) -> dict[str, str]:
    return {"PIPELINE_COMMERCE_WATCH": json.dumps({name: str(path) for name, path in paths.items()})}


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        (watch(customers="/no/such/folder/c*.csv"), "The watched folder /no/such/folder cannot be read: No such file"),
        (watch(customers="/tmp"), "The watched file /tmp is a folder. Name the files in it, e.g. /tmp/customers*.csv."),
        (watch(customers="relative/c*.csv"), "PIPELINE_COMMERCE_WATCH: a JSON object of streams and absolute paths"),
        (watch(customers="/no/*/c.csv"), "PIPELINE_COMMERCE_WATCH: wildcards may be in the name of the file"),
        (watch(clients="/tmp/c*.csv"), "unknown streams: clients. The streams are customers, orders."),
        ({"PIPELINE_COMMERCE_WATCH": "customers*.csv"}, "PIPELINE_COMMERCE_WATCH: a JSON object"),
        ({"PIPELINE_PROFILE": "aws"}, "PIPELINE_COMMERCE_WATCH is not set"),
        ({"PIPELINE_STREAM_BUFFER_SECONDS": "901"}, "PIPELINE_STREAM_BUFFER_SECONDS: "),
        ({"PIPELINE_STREAM_BUFFER_MIB": "0"}, "PIPELINE_STREAM_BUFFER_MIB: "),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(home: Path, variables: dict[str, str], named: str) -> None:
    done = run(home, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_file_without_rights_is_one_line_and_exit_code_2() -> None:
    """In a folder that any user can reach, as a user who is not root."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        (home / "sources" / "commerce").mkdir(parents=True)
        append(home, "1,a\n")
        (home / "sources" / "commerce" / "customers.csv").chmod(0)
        Path(folder).chmod(0o755)
        for path in (home, home / "sources", home / "sources" / "commerce"):
            os.chown(path, NOBODY if os.geteuid() == 0 else -1, -1)
        # First a call that succeeds, which imports everything: the user may not reach the packages.
        code = (
            "import os\nfrom pipeline_assets.cli import app, main\n"
            f"app(['stream', '--once'], standalone_mode=False)\nos.environ['PIPELINE_HOME'] = {str(home)!r}\n"
            f"os.geteuid() or os.setuid({NOBODY})\nmain()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "stream", "--once"],
            env=environment(Path(folder) / "other"),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "customers.csv cannot be read: Permission denied. Give this user the right to read it." in done.stderr


def test_the_producer_starts_without_heavy_imports(home: Path) -> None:
    heavy = ("dagster", "pandas", "pyarrow", "duckdb", "boto3", "sqlglot", "obstore")
    code = (
        "import sys\nfrom pipeline_assets.cli import app\n"
        "app(['stream', '--once'], standalone_mode=False)\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    append(home, "1,a\n")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(home), cwd=home, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_progress_is_shown_in_a_terminal(home: Path) -> None:
    append(home, "1,a\n")
    reader, writer = os.openpty()
    producer = warm_python.start([*CLI, "stream"], env=environment(home), cwd=home, stderr=writer)
    os.close(writer)
    shown = b""
    try:
        while b"1 records, 4 bytes delivered" not in shown and b"4 bytes and" not in shown:
            shown += os.read(reader, 4096)
    finally:
        producer.send_signal(signal.SIGTERM)
        code = producer.wait(timeout=30)
        os.close(reader)
    assert b"\r\x1b[Kcustomers: " in shown
    assert code == 0
