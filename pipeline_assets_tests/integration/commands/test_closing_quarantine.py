"""`quarantine discard` and `purge`: a record that nobody will correct is closed with a reason, and deleted later."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets import cli
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.pipeline_lake import copy_home

STATES = "SELECT LINE_NUMBER, CLOSED_AS, CLOSED_BECAUSE FROM OPS.QUARANTINE ORDER BY LINE_NUMBER"


@pytest.fixture(scope="module")
def after_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three records wait: lines 2 and 3 have no number, line 4 has no customer."""
    lake = BookingsLake.with_tables(tmp_path_factory.mktemp("waiting") / "home")
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1, amount="x"), booking(2, 1, amount="y"), booking(3, 9))
    lake.run()
    return lake.home


@pytest.fixture
def waiting(after_a_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BookingsLake:
    copy_home(after_a_run, tmp_path / "home")
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "home"))
    return BookingsLake.at(tmp_path / "home")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and what the command printed."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pipeline-assets", "quarantine", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out + printed.err


def ids(lake: BookingsLake) -> list[str]:
    return [key for (key,) in lake.rows("SELECT QUARANTINE_ID FROM OPS.QUARANTINE ORDER BY LINE_NUMBER")]


def test_a_discarded_record_waits_no_longer_whatever_happens(
    waiting: BookingsLake, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _, orphan = ids(waiting)
    code, text = run(
        capsys,
        "discard",
        "bookings",
        "--id",
        first[:8],
        "--id",
        orphan,
        "--id",
        first,
        "--reason",
        "typed by hand, it's lost",
    )
    assert (code, text) == (0, "Discarded 2 records of bookings.\n")
    discarded = ("discarded", "typed by hand, it's lost")
    assert waiting.rows(STATES) == [(2, *discarded), (3, None, None), (4, *discarded)]
    assert first not in run(capsys, "list")[1]
    assert "discarded" in run(capsys, "list", "--all")[1]
    assert "typed by hand" in run(capsys, "show", first)[1]

    waiting.customers("_9", customer(9))
    waiting.run()
    waiting.run(reprocess=True)
    waiting.run(replay=True)

    assert waiting.rows(STATES)[0] == (2, *discarded)
    assert run(capsys, "list")[1].count("not_a_number") == 1


def test_all_that_waits_of_a_pipeline_is_discarded_with_all(
    waiting: BookingsLake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "discard", "bookings", "--all", "--reason", "test data") == (
        0,
        "Discarded 3 records of bookings.\n",
    )
    assert run(capsys, "discard", "bookings", "--all", "--reason", "test data")[1].startswith("Discarded 0 records")


def test_the_start_of_an_id_is_enough_if_no_other_id_starts_like_it(
    waiting: BookingsLake, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, _ = ids(waiting)
    with waiting.platform.warehouse.transaction() as transaction:
        change = "UPDATE OPS.QUARANTINE SET QUARANTINE_ID = %s WHERE QUARANTINE_ID = %s"
        transaction.execute(change, ("abcd1", first))
        transaction.execute(change, ("abcd2", second))

    several = "The ids of several quarantined records start with 'abcd'."
    for words in (("show", "abcd"), ("discard", "bookings", "--reason", "x", "--id", "abcd")):
        code, text = run(capsys, *words)
        assert (code, several in text) == (2, True)
    assert "abcd2" in run(capsys, "show", "abcd2")[1]
    assert run(capsys, "discard", "bookings", "--reason", "x", "--id", "abcd1")[0] == 0
    assert "No waiting record of bookings has the id abcd1" in run(capsys, "replay", "bookings", "--id", "abcd1")[1]
    assert "No waiting record of orders has the id abcd2" in run(capsys, "replay", "orders", "--id", "abcd2")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bookings", "--reason", "x"), "The records to discard are not given."),
        (("bookings", "--reason", "x", "--all", "--id", "1"), "are given twice, by --id and by --all."),
        (("bookings", "--reason", " ", "--all"), "The reason is empty."),
        (("bookings", "--reason", "x", "--id", "1"), "No quarantined record has the id '1'."),
        (("nobody", "--reason", "x", "--all"), "There is no pipeline 'nobody'."),
        (("bookings", "--all"), "--reason"),
    ],
)
def test_what_is_to_be_discarded_and_why_is_said(
    waiting: BookingsLake, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, text = run(capsys, "discard", *words)

    assert code == 2
    assert said in text
    assert [state for _, state, _ in waiting.rows(STATES)] == [None, None, None]


def test_only_what_was_closed_long_ago_is_purged(waiting: BookingsLake, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, _ = ids(waiting)
    run(capsys, "discard", "bookings", "--id", first, "--id", second, "--reason", "x")
    long_ago = datetime.now() - timedelta(days=91)  # noqa: DTZ005 - a day more or less is no matter
    with waiting.platform.warehouse.transaction() as transaction:
        transaction.execute("UPDATE OPS.QUARANTINE SET CLOSED_AT = %s WHERE QUARANTINE_ID = %s", (long_ago, first))

    assert run(capsys, "purge", "--older-than", "92d") == (0, "Deleted 0 closed records.\n")
    assert run(capsys, "purge", "bookings", "--older-than", "90d") == (0, "Deleted 1 closed record.\n")

    assert [line for line, *_ in waiting.rows(STATES)] == [3, 4]
    assert run(capsys, "purge", "--older-than", "soon")[0] == 2
