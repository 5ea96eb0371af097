"""A rejected archive is one object, though its records and each list in them are sources of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.warehouse import ledger
from pipeline_assets_tests.support.movies_lake import MoviesLake, movie, ratings


@pytest.mark.parametrize("bad", [{"imdbID": ""}, {"Ratings": ratings(("IMDb", "A+"))}], ids=["movies", "ratings"])
def test_a_rejected_archive_is_once_in_quarantine_and_counts_once(tmp_path: Path, bad: dict[str, str]) -> None:
    lake = MoviesLake.with_tables(tmp_path)
    lake.archive("good", movie(1, Ratings=ratings(("IMDb", "9/10"))), movie(2))
    lake.archive("bad", *(movie(number, **bad) for number in range(10, 40)))
    report = lake.run()
    assert (report.loaded, report.rejected) == (1, 1)
    with lake.platform.warehouse.read_only() as transaction:
        quarantined = transaction.rows("SELECT DATASET, REASON_CODE FROM OPS.QUARANTINE WHERE LINE_NUMBER IS NULL")
        ((_, loaded, rejected, *_),) = ledger.totals(transaction, ["movies"])
    assert quarantined == [("movies", "too_many_bad_rows")]
    assert (loaded, rejected) == (1, 1)
