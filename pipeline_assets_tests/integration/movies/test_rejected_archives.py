"""A rejected archive is one object, though its records and each list in them are sources of their own."""

from __future__ import annotations

from pathlib import Path

from pipeline_assets.warehouse import ledger
from pipeline_assets_tests.support.movies_lake import MoviesLake, movie, ratings

BAD = {"movies": {"imdbID": ""}, "ratings": {"Ratings": ratings(("IMDb", "A+"))}}


def test_a_rejected_archive_is_once_in_quarantine_and_counts_once(tmp_path: Path) -> None:
    lake = MoviesLake.with_tables(tmp_path)
    lake.archive("good", movie(1, Ratings=ratings(("IMDb", "9/10"))), movie(2))
    for first, (name, bad) in enumerate(BAD.items(), 1):
        lake.archive(name, *(movie(number, **bad) for number in range(100 * first, 100 * first + 30)))
    report = lake.run()
    assert (report.loaded, report.rejected) == (1, len(BAD))
    with lake.platform.warehouse.read_only() as transaction:
        quarantined = transaction.rows(
            "SELECT REGEXP_SUBSTR(SOURCE_URI, '[^/]+$'), DATASET, REASON_CODE FROM OPS.QUARANTINE "
            "WHERE LINE_NUMBER IS NULL ORDER BY 1"
        )
        ((_, loaded, rejected, *_),) = ledger.totals(transaction, ["movies"])
    assert quarantined == [(f"{name}.zip", "movies", "too_many_bad_rows") for name in BAD]
    assert (loaded, rejected) == (1, len(BAD))
