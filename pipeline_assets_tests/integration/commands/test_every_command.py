"""What every command does for a hurried user: mistakes are one line, and an output that cannot be written is no fault.

Commands whose output is tested run in processes of their own, as the streams of this one belong to pytest. What an
interpreter does with its streams and environment at its start is tested in fresh interpreters.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets import cli
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.command_line import environment, fresh_process, process

# Calls that succeed on the home below and print to stdout.
COMMANDS = {
    "run --json": ("run", "bookings", "--json"),
    "query": ("query", "SELECT 1 AS A"),
    "query of much": ("query", "SELECT REPEAT('x', 3000000) AS A"),
    "status": ("status",),
    "catalog": ("catalog",),
    "samples": ("samples", "orders"),
    "doctor": ("doctor",),
    "stream": ("stream", "--once"),
    "deploy snowflake": ("deploy", "snowflake", "--dry-run"),
    "quarantine list": ("quarantine", "list"),
    "quarantine show": ("quarantine", "show", "ID"),
    "quarantine replay": ("quarantine", "replay", "bookings", "--json"),
}
GROUPS = {
    "": ("run", "query", "status", "demo", "dev", "samples", "stream", "new", "doctor", "catalog"),
    "deploy": ("aws", "snowflake"),
}
GROUPS["quarantine"] = ("list", "show", "export", "replay", "discard", "purge")
NAMES = [tuple(filter(None, (group, name))) for group, names in GROUPS.items() for name in names]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a loaded batch and two quarantined records."""
    lake = BookingsLake.with_tables(tmp_path_factory.mktemp("commands") / "home")
    lake.customers("", customer(1), customer(2))
    lake.bookings("", booking(1, 1), booking(2, 2, "x"), booking(3, 9))
    assert process(lake.home, "run", "bookings").returncode == 0
    return lake.home


@pytest.fixture
def words(home: Path, request: pytest.FixtureRequest) -> list[str]:
    """The words of a command, with the id of a quarantined record where it wants one."""
    (first,) = BookingsLake.at(home).rows("SELECT MIN(QUARANTINE_ID) FROM OPS.QUARANTINE")
    return [first[0] if word == "ID" else word for word in COMMANDS[request.param]]


def calls(*chosen: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("words", chosen, indirect=True)


FULL = "error: The result cannot be written to stdout: No space left on device.\n"


@calls(*COMMANDS)
def test_a_full_disk_below_stdout_is_one_line_and_1(home: Path, words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = process(home, *words, stdout=full)
    assert (done.returncode, done.stderr) == (1, FULL)


@pytest.mark.parametrize(
    ("words", "run"),
    [("run --json", process), ("query", fresh_process)],
    indirect=["words"],
    ids=["run --json", "query"],
)
def test_a_full_disk_below_an_unbuffered_stdout_is_one_line_and_1(home: Path, words: list[str], run: Any) -> None:
    with open("/dev/full", "w") as full:
        done = run(home, *words, stdout=full, env=environment(home, PYTHONUNBUFFERED="1"))
    assert (done.returncode, done.stderr) == (1, FULL)


@calls("run --json", "query", "query of much", "quarantine list")
def test_a_reader_that_has_enough_ends_the_command_quietly(home: Path, words: list[str]) -> None:
    """As `| head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = process(home, *words, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@calls("query", "run --json")
def test_a_closed_stdout_is_refused_before_any_work(home: Path, words: list[str]) -> None:
    done = fresh_process(home, *words, stdout=None, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (1, "error: stdout is closed. Use >/dev/null to drop the result.\n")


@pytest.mark.parametrize(("form", "code", "out"), [("csv", 0, "A\n1\n"), ("nope", 2, "")])
def test_without_stderr_and_stdin_only_results_go_to_stdout(home: Path, form: str, code: int, out: str) -> None:
    def close() -> None:
        os.close(0)
        os.close(2)

    done = fresh_process(home, "query", "SELECT 1 AS A", "--format", form, stderr=None, preexec_fn=close)
    assert (done.returncode, done.stdout) == (code, out)


@pytest.mark.parametrize(
    ("form", "run", "locale"),
    [
        ("csv", fresh_process, {"LC_ALL": "C", "PYTHONUTF8": "0"}),
        ("json", process, {"PYTHONIOENCODING": "ascii"}),
        ("table", process, {"PYTHONIOENCODING": "ascii"}),
    ],
    ids=["csv", "json", "table"],
)
def test_results_are_utf_8_in_any_locale(home: Path, form: str, run: Any, locale: dict[str, str]) -> None:
    done = run(home, "query", "SELECT 'é日本' AS \"ü\"", "--format", form, env=environment(home, **locale))
    assert done.returncode == 0, done.stderr
    assert "é日本" in done.stdout
    assert "ü" in done.stdout


def test_a_statement_that_is_no_utf_8_is_one_line(home: Path) -> None:
    done = fresh_process(home, "query", b"SELECT '\xff'")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "not UTF-8" in done.stderr


@pytest.fixture
def command(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Call the console script in this process; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("PIPELINE_HOME", str(home))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline-assets", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    loggers = [logging.getLogger(name) for name in ("snowflake", "pipeline_assets.alerts")]
    levels = [logger.level for logger in loggers]
    yield call
    for logger, level in zip(loggers, levels, strict=True):  # a command is the only work of its process
        logger.setLevel(level)


def test_every_command_is_tested_here(command) -> None:
    for group, names in GROUPS.items():
        code, out, _ = command(*filter(None, [group]), "--help")
        listed = [line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line.strip()]
        assert (code, [name for name in listed if name not in GROUPS]) == (0, list(names))


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_an_unknown_option_is_one_line(command, words: tuple[str, ...]) -> None:
    code, out, err = command(*words, "--nope")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--nope" in err
    assert f"See `pipeline-assets {' '.join(words)} --help`." in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nope",), "No such command 'nope'."),
        (("quarantine", "nope"), "No such command 'nope'."),
        (("run",), "Missing argument 'pipeline'."),
        (("quarantine", "show"), "Missing argument 'ID'."),
        (("run", "bookings", "orders"), "unexpected extra argument"),
        (
            ("run", "bookings", "--engine", "nope"),
            "Invalid value for '--engine': 'nope' is not one of 'auto'",
        ),
        (("query", "SELECT 1", "--format", "nope"), "Invalid value for '--format': 'nope' is not one of 'table'"),
        (("new", "x", "--from", "x", "--form", "nope"), "Invalid value for '--form': 'nope' is not one of 'csv'"),
        (("run", "nope"), "The pipelines are bookings"),
        (("run", ""), "The pipelines are bookings"),
        (("samples", "nope"), "The pipelines are bookings"),
        (("quarantine", "list", "nope"), "The pipelines are bookings"),
        (("quarantine", "export", "x.csv", "nope"), "The pipelines are bookings"),
        (("quarantine", "replay", "nope"), "The pipelines are bookings"),
        (("quarantine", "list", "--limit", "0"), "'--limit'"),
        (("quarantine", "list", "--limit", "x"), "'--limit'"),
        (("run", "bookings", "--engine", "polars"), "'--engine'"),
        (("query", "SELECT 1", "--format", "xml"), "'xml' is not one of 'table', 'csv', 'json'."),
        (("query", ""), "no statement"),
        (("query", " ;; "), "no statement"),
        (("query", "--", "-- nothing"), "no statement"),
        (("query", "SELECT 1; SELECT 2"), "One statement at a time"),
        (("query", "SELECT 1 AS A, 2 AS A, 3 AS B"), "same name: 'A'"),
        (("query", "SELECT 1 AS A, 2 AS A, 3 AS B", "--format", "csv"), "same name: 'A'"),
        (("query", "SELECT 1 AS A, 2 AS A, 3 AS B", "--format", "json"), "same name: 'A'"),
        (("query", "SELECT X.A, Y.* FROM (SELECT 1 A, 2 B) X JOIN (SELECT 1 A) Y ON X.A = Y.A"), "same name: 'A'"),
        (("query", "SELECT 1, 1"), "same name: '1'"),
    ],
    ids=str,
)
def test_a_mistake_in_the_words_is_one_line_and_2(command, words: tuple[str, ...], message: str) -> None:
    code, out, err = command(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM 'nope.parquet'", "nope.parquet"),
        ("SELECT * FROM read_csv('/nope.csv')", "/nope.csv"),
        ("COPY INTO BOOKINGS.CUSTOMERS FROM @NOPE", "does not exist"),
        ("SELECT * FROM NOPE", "does not exist"),
        ("SELECT ARRAY_CONSTRUCT(1, 2) AS A", "Cast it"),
        ("SELECT 1 / 'x'", "refused"),
    ],
)
def test_a_statement_that_fails_is_one_line_and_1(command, sql: str, message: str) -> None:
    code, out, err = command("query", sql)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert message in err


@pytest.mark.parametrize("words", [w for w in NAMES if w[0] not in ("new", "deploy", "doctor")], ids=" ".join)
def test_a_home_that_cannot_be_one_is_one_line(
    command, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_HOME", "/proc/nope")
    needed = {"run": ["bookings"], "query": ["SELECT 1"], "show": ["x"], "export": ["x.csv"], "replay": ["bookings"]}
    needed |= {"discard": ["bookings", "--reason", "x", "--all"], "purge": ["--older-than", "90d"]}
    code, out, err = command(*words, *needed.get(words[-1], []))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "PIPELINE_HOME=/proc/nope" in err


@calls("query", "status", "samples", "quarantine list", "quarantine show")
def test_twice_gives_the_same(command, words: list[str]) -> None:
    assert command(*words) == command(*words)
    assert command(*words)[0] == 0


@calls("run --json", "query", "status", "quarantine list", "quarantine replay")
def test_a_new_home_is_empty_and_no_error(command, words: list[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "new" / "home"))
    code, _, err = command(*words)
    assert (code, err) == (0, "")


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_names_and_values_with_markup_stay_as_they_are(command, form: str) -> None:
    code, out, _ = command("query", "SELECT ':on: a:x:b [bold]x[/bold] [/]' AS \":100: [red]\"", "--format", form)
    assert code == 0
    assert ":on: a:x:b [bold]x[/bold] [/]" in out
    assert ":100: [red]" in out
