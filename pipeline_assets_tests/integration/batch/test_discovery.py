"""What a run takes: everything in its zones that the ledger does not know, at a constant number of statements."""

from __future__ import annotations

import logging

import pytest

from pipeline_assets.batch.context import STAGING
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.warehouse import connection, transaction
from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer

NAMES = ["", "_2", " #3 100%", "_\u00e9'\"\u4e2d", "_e\u0301"]


def test_what_was_taken_is_known_whatever_its_name(lake: BookingsLake) -> None:
    for number, name in enumerate(NAMES):
        lake.customers(name, customer(number))
    first = lake.run()
    lake.customers("_new", customer(9))

    second, third, again = lake.run(), lake.run(), lake.run(reprocess=True)

    assert [(r.new, r.known, r.loaded) for r in (first, second, third, again)] == [
        (5, 0, 5),
        (1, 5, 1),
        (0, 6, 0),
        (6, 0, 6),
    ]


def test_a_replay_takes_a_rejected_object_again_and_no_other(lake: BookingsLake) -> None:
    lake.write("customer_details_bad.csv", "NAME\nAda\n")
    lake.customers("", customer(1))
    assert (lake.run().new, lake.run().known) == (2, 2)

    replayed = lake.run(replay=True)

    assert (replayed.new, replayed.known, replayed.rejected) == (1, 1, 1)


def test_the_statements_of_a_run_do_not_follow_the_number_of_files(
    lake: BookingsLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    theirs = transaction.run_statement
    for module in (transaction, connection):
        monkeypatch.setattr(module, "run_statement", lambda *a: (said.append(a[1]), theirs(*a))[1])
    counts = []
    for batch, files in enumerate((1, 2, 12)):  # the first finds empty tables, in which nothing is looked up
        for number in range(files):
            lake.customers(f"_{batch}_{number}", customer(100 * batch + number))
            lake.bookings(f"_{batch}_{number}", booking(100 * batch + number, 100 * batch + number))
        lake.run()
        counts.append(len(said))
        said.clear()

    assert counts[1] == counts[2]


def test_a_file_beside_the_batches_in_staging_is_left_alone(
    lake: BookingsLake, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no batch, and neither is a folder of another name: nothing is finished, undone, or warned of."""
    staging = lake.home / "lake" / lake.pipeline().bucket / STAGING / lake.name
    kept = [
        staging / name for name in ("README", "extract/page-1.json", "0123456789abcdef/half.parquet", "ABCDEF012345/x")
    ]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("for people")

    with caplog.at_level(logging.WARNING, "pipeline_assets"):
        lake.run()

    assert "interrupted" not in caplog.text
    assert [path.exists() for path in kept] == [True] * len(kept)


def test_intermediate_files_without_a_folder_are_an_error_with_a_remedy(lake: BookingsLake) -> None:
    scratch = lake.platform.scratch
    if scratch.is_dir():
        scratch.rmdir()
    scratch.write_text("a file")

    with pytest.raises(ConfigurationError, match="The folder for intermediate files cannot be made") as refused:
        lake.run()
    assert str(lake.home) not in str(refused.value)
