"""Archives of movies are the unit of acceptance: loaded whole once, or rejected whole with the reason."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_assets_tests.support.movies_lake import (
    CREATED,
    MoviesLake,
    csv_bytes,
    manifest,
    movie,
    old_manifest,
    parquet_bytes,
    ratings,
    zipped,
)

LATER = CREATED + timedelta(days=1)


@pytest.fixture
def lake(tmp_path: Path) -> MoviesLake:
    return MoviesLake.with_tables(tmp_path)


def titles(lake: MoviesLake) -> list[tuple]:
    return lake.rows("SELECT IMDBID, TITLE FROM MOVIES.MOVIES_LANDING ORDER BY IMDBID")


def test_an_archive_is_loaded_once_and_its_members_are_in_the_processed_zone(lake: MoviesLake) -> None:
    lake.archive("a", movie(1), movie(2))

    first, again = lake.run(), lake.run()

    assert (first.new, first.loaded, first.rejected) == (1, 1, 0)
    assert (again.new, again.known) == (0, 1)
    assert titles(lake) == [("tt0000001", "Movie 1"), ("tt0000002", "Movie 2")]
    assert [key.rpartition("/")[2] for key in lake.files("movie-processed")] == [
        "manifest.json",
        "movies.csv",
        "ratings.csv",
    ]
    assert lake.files("movie-archive") == ["archival/full_data/movies_BATCH.csv", "archival/review/reviews_BATCH.csv"]


def test_an_empty_landing_zone_is_noted_with_the_way_to_fill_it(lake: MoviesLake) -> None:
    (note,) = lake.run().notes

    assert note.startswith("Nothing has landed: movie-landing/zipped/**/*.zip is empty")
    assert note.endswith("--extract pulls from its source first.")


def test_the_same_bytes_under_another_key_load_nothing(lake: MoviesLake) -> None:
    path = lake.archive("a", movie(1))
    lake.run()
    before = lake.tables()
    shutil.copy(path, path.with_name("copy.zip"))

    copied = lake.run()
    reprocessed = lake.run(reprocess=True)

    assert (copied.new, copied.loaded, copied.rows["read"]) == (1, 1, 0)
    assert (reprocessed.new, reprocessed.rows["read"]) == (2, 1 + 2)
    assert lake.tables() == before
    assert lake.run().known == 2


def test_two_equal_archives_in_one_batch_are_read_once(lake: MoviesLake) -> None:
    path = lake.archive("b", movie(1))
    shutil.copy(path, path.with_name("a.zip"))

    report = lake.run()

    assert (report.new, report.loaded, report.rows["read"]) == (2, 2, 1 + 2)


def test_the_manifests_time_orders_versions_and_not_the_time_of_the_object(lake: MoviesLake) -> None:
    lake.archive("newer", movie(1, Title="Newer"), created=LATER, modified=CREATED)
    lake.archive("older", movie(1, Title="Older"), created=CREATED, modified=LATER + timedelta(days=30))

    lake.run()

    assert titles(lake) == [("tt0000001", "Newer")]


def test_new_bytes_at_a_key_win_over_the_bytes_that_lay_there_whatever_their_manifest_states(lake: MoviesLake) -> None:
    lake.archive("a", movie(1, Title="First"), created=LATER)
    lake.run()
    lake.archive("a", movie(1, Title="Corrected"), created=CREATED)
    lake.run()

    assert titles(lake) == [("tt0000001", "Corrected")]


def test_the_time_of_a_rejected_archive_orders_nothing(lake: MoviesLake) -> None:
    lake.write("a.zip", b"broken", LATER + timedelta(days=30))
    lake.run()
    lake.archive("a", movie(1, Title="Older"), created=CREATED)
    lake.run()
    lake.archive("b", movie(1, Title="Newer"), created=LATER)

    lake.run()

    assert titles(lake) == [("tt0000001", "Newer")]


def test_the_time_of_a_copy_that_loaded_nothing_orders_nothing(lake: MoviesLake) -> None:
    path = lake.archive("a", movie(1, Title="Older"))
    lake.run()
    shutil.copy(path, path.with_name("copy.zip"))  # now, which is later than what the manifests state
    lake.run()
    lake.archive("a", movie(1, Title="Newer"), created=LATER)
    lake.run()
    before = lake.tables()

    lake.run(reprocess=True)

    after = lake.tables()
    assert len(after.pop("MOVIE_VERSIONS")) == len(before.pop("MOVIE_VERSIONS")) + 1  # the bytes that a.zip had
    assert after == before
    assert titles(lake) == [("tt0000001", "Newer")]


def test_an_archive_from_the_future_is_rejected(lake: MoviesLake) -> None:
    future = lake.platform.clock().replace(tzinfo=CREATED.tzinfo) + timedelta(days=2)
    lake.archive("a", movie(1), created=future, modified=CREATED)

    report = lake.run()

    assert (report.loaded, report.rejected) == (0, 1)
    ((code, reason),) = lake.rows("SELECT REASON_CODE, REASON FROM OPS.QUARANTINE")
    assert code == "manifest_mismatch"
    assert "in the future" in reason


DATA = csv_bytes([movie(1), movie(2)])
FILES = {"movies.csv": (DATA, 2)}
BROKEN: dict[str, dict[str, bytes]] = {
    "no manifest": {"movies.csv": DATA},
    "two manifests": {"movies.csv": DATA, "manifest.json": manifest(2, CREATED, FILES), "other.json": b"{}"},
    "another hash": {"movies.csv": DATA.replace(b"Movie 1", b"Movie X"), "manifest.json": manifest(2, CREATED, FILES)},
    "a missing file": {"manifest.json": manifest(2, CREATED, FILES)},
    "an extra file": {"movies.csv": DATA, "more.csv": DATA, "manifest.json": manifest(2, CREATED, FILES)},
    "another count": {"movies.csv": DATA, "manifest.json": manifest(3, CREATED, {"movies.csv": (DATA, 3)})},
    "a file of another kind": {"movies.csv": DATA, "x.exe": b"", "manifest.json": manifest(2, CREATED, FILES)},
    "an archive in the archive": {"in.zip": zipped({}), "manifest.json": manifest(2, CREATED, FILES)},
    "another count in the old form": {"movies.csv": DATA, "manifest.json": old_manifest(3)},
    "twins that differ": {
        "movies.csv": DATA,
        "movies.parquet": parquet_bytes([movie(1)]),
        "manifest.json": old_manifest(2),
    },
    "a Parquet that is none": {"movies.parquet": b"PAR1nothingPAR1", "manifest.json": old_manifest(2)},
}


@pytest.mark.parametrize("members", BROKEN.values(), ids=BROKEN)
def test_an_archive_that_differs_from_its_manifest_is_rejected_whole(
    lake: MoviesLake, members: dict[str, bytes]
) -> None:
    lake.write("broken.zip", zipped(members), CREATED)
    lake.archive("good", movie(9))

    report = lake.run()

    assert (report.loaded, report.rejected) == (1, 1)
    assert titles(lake) == [("tt0000009", "Movie 9")]
    quarantined = lake.rows("SELECT SOURCE_URI, LINE_NUMBER, REASON_CODE FROM OPS.QUARANTINE")
    assert [(uri.rpartition("/")[2], line) for uri, line, _ in quarantined] == [("broken.zip", None)]
    assert not any("broken" in key for key in lake.files("movie-processed"))


def test_what_is_no_archive_is_rejected_and_a_mended_delivery_closes_it(lake: MoviesLake) -> None:
    lake.write("a.zip", b"no archive", CREATED)
    assert lake.run().rejected == 1

    lake.archive("a", movie(1), created=LATER)
    lake.run()

    assert titles(lake) == [("tt0000001", "Movie 1")]
    assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL AND CLOSED_AT IS NULL") == [(0,)]


def test_a_rejected_archive_is_replayed_as_a_whole(lake: MoviesLake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.write("a.zip", zipped({"movies.csv": DATA, "manifest.json": manifest(3, CREATED, FILES)}), CREATED)
    lake.run()
    monkeypatch.setattr("pipeline_assets.movies.archive.verify", lambda *_, **__: None)  # as if a rule was relaxed

    lake.run(replay=True)

    assert len(titles(lake)) == 2
    assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL") == [(0,)]


def test_of_twins_one_is_loaded(lake: MoviesLake) -> None:
    movies = [movie(1), movie(2)]
    data, twin = csv_bytes(movies), parquet_bytes(movies)
    files = {"d/movies.csv": (data, 2), "d/movies.parquet": (twin, 2)}
    members = {name: content for name, (content, _) in files.items()}
    lake.write("a.zip", zipped(members | {"d/manifest.json": manifest(2, CREATED, files)}), CREATED)

    report = lake.run()

    assert report.rows["read"] == 2 + 4
    assert len(titles(lake)) == 2


def test_several_csv_files_are_one_extract(lake: MoviesLake) -> None:
    parts = [csv_bytes([movie(1), movie(2)]), csv_bytes([movie(3)]).rstrip(b"\n"), csv_bytes([movie(4)])]
    files = {f"part-{number}.csv": (data, 2 if number == 0 else 1) for number, data in enumerate(parts)}
    members = {name: content for name, (content, _) in files.items()}
    lake.write("a.zip", zipped(members | {"manifest.json": manifest(4, CREATED, files)}), CREATED)

    lake.run()

    assert len(titles(lake)) == 4


def test_old_archives_escape_quotes_with_a_backslash(lake: MoviesLake) -> None:
    plot = 'She said "no, never", twice\\once'
    data = csv_bytes([movie(1, Plot=plot), movie(2)], doublequote=False, escapechar="\\", quoting=1)
    lake.write("old.zip", zipped({"movies.csv": data, "meta/data.json": old_manifest(2)}), CREATED)

    report = lake.run()

    assert (report.loaded, report.rows["quarantined"]) == (1, 0)
    assert lake.rows("SELECT PLOT FROM MOVIES.MOVIES_LANDING ORDER BY IMDBID") == [(plot,), (None,)]
    assert lake.rows("SELECT COUNT(*) FROM MOVIES.MOVIE_REVIEWS") == [(4,)]


def test_a_zipped_folder_is_an_archive_as_well(lake: MoviesLake) -> None:
    """Names in a manifest are relative to its own folder."""
    members = {"extract/movies.csv": DATA, "extract/manifest.json": manifest(2, CREATED, FILES)}
    lake.write("a.zip", zipped(members), CREATED)

    assert (lake.run().loaded, len(titles(lake))) == (1, 2)


@pytest.mark.parametrize("change", [lambda data: data, lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")])
def test_an_archive_without_movies_loads_nothing_and_is_known(lake: MoviesLake, change: Callable) -> None:
    data = change(csv_bytes([]))
    members = {"movies.csv": data, "manifest.json": manifest(0, CREATED, {"movies.csv": (data, 0)})}
    lake.write("a.zip", zipped(members), CREATED)

    report = lake.run()

    assert (report.loaded, report.rows["read"]) == (1, 0)
    assert lake.run().known == 1


def test_error_answers_are_quarantined_as_such_and_a_bad_rating_without_its_movie(lake: MoviesLake) -> None:
    listed = ratings(("IMDb", "8/10"), ("Critics", "A+"), ("Blank", ""), ("Metacritic", "N/A"))
    lake.archive("a", movie(1, Ratings=listed), movie(2, Response="False", imdbID="tt9", Title="Incorrect IMDb ID."))

    report = lake.run()

    assert titles(lake) == [("tt0000001", "Movie 1")]
    assert lake.rows("SELECT REVIEW_PROVIDER, RATING FROM MOVIES.MOVIE_REVIEWS") == [("IMDb", 80)]
    assert lake.rows("SELECT DATASET, REASON_CODE FROM OPS.QUARANTINE ORDER BY 1, 2") == [
        ("movies", "source_error"),
        ("ratings", "not_accepted_value"),
    ]
    assert report.rows["read"] == sum(report.rows[name] for name in ("loaded", "superseded", "quarantined"))


def test_ratings_are_whole_numbers_up_to_100(lake: MoviesLake) -> None:
    values = {"82/100": 82, "9.3/10": 93, "89%": 89, "4/5": 80, "3.5/4": 88, "8.25/10": 83, "0%": 0, "100%": 100}
    bad = ("12/10", "101%", "-1/10", "A", "5", "1e1%", "82/ 100 x", "½/5")
    listed = ratings(*((value, value) for value in (*values, *bad)))
    lake.archive("a", movie(1, Ratings=listed))

    lake.run()

    assert dict(lake.rows("SELECT REVIEW_PROVIDER, RATING FROM MOVIES.MOVIE_REVIEWS")) == values
    assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REASON_CODE = 'not_accepted_value'") == [(len(bad),)]


def test_a_provider_that_is_listed_twice_counts_once_and_the_last_value_with_a_note(lake: MoviesLake) -> None:
    listed = ratings(("IMDb", "8/10"), ("IMDb", "8/10"), ("Critics", "10%"), ("Critics", "20%"))
    lake.archive("a", movie(1, Ratings=listed))

    report = lake.run()

    assert lake.rows("SELECT REVIEW_PROVIDER, RATING FROM MOVIES.MOVIE_REVIEWS ORDER BY 1") == [
        ("Critics", 20),
        ("IMDb", 80),
    ]
    assert [note for note in report.notes if "listed twice" in note and "tt0000001, Critics" in note]


def test_lists_may_be_written_as_python_prints_them(lake: MoviesLake) -> None:
    lake.archive("a", movie(1, Ratings="[{'Source': \"O'Neil\", 'Value': '8/10'}]"), movie(2, Ratings="[oops"))

    lake.run()

    assert lake.rows("SELECT REVIEW_PROVIDER, RATING FROM MOVIES.MOVIE_REVIEWS") == [("O'Neil", 80)]
    assert lake.rows("SELECT RAW_RECORD FROM OPS.QUARANTINE") == [("tt0000002,Movie 2,,[oops",)]


def test_of_a_movie_that_is_in_one_archive_twice_the_last_record_counts_with_its_ratings(lake: MoviesLake) -> None:
    listed = ratings(("IMDb", "1/10"), ("Old", "1/10"))
    lake.archive("a", movie(1, Ratings=listed), movie(1, Title="Last", Ratings="N/A"))

    lake.run()

    assert titles(lake) == [("tt0000001", "Last")]
    assert lake.rows("SELECT COUNT(*) FROM MOVIES.MOVIE_REVIEWS") == [(0,)]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_of_a_movie_that_is_in_one_archive_twice_the_last_good_record_counts_with_its_ratings(
    lake: MoviesLake, form: str
) -> None:
    too_long = "R" * 1001
    movies = [
        movie(1, Title="Good", Ratings=ratings(("IMDb", "8/10"))),
        movie(1, Title="Bad", Rated=too_long, Ratings=ratings(("IMDb", "1/10"), ("Bad", "1/10"))),
        movie(2, Rated=too_long, Ratings=ratings(("Old", "1/10"))),
        movie(2, Rated=too_long, Ratings=ratings(("Last", "1/10"))),
        *(movie(number, Ratings="N/A") for number in range(3, 9)),
    ]
    data = csv_bytes(movies) if form == "csv" else parquet_bytes(movies)
    name = f"movies.{form}"
    described = manifest(len(movies), CREATED, {name: (data, len(movies))})
    lake.write("a.zip", zipped({name: data, "manifest.json": described}))

    lake.run()

    assert titles(lake)[0] == ("tt0000001", "Good")
    assert lake.rows("SELECT IMDB_ID, REVIEW_PROVIDER, RATING FROM MOVIES.MOVIE_REVIEWS") == [("tt0000001", "IMDb", 80)]
    waiting = "SELECT RAW_RECORD FROM OPS.QUARANTINE WHERE REASON_CODE = 'orphan_rating'"
    assert ["Last" in raw for (raw,) in lake.rows(waiting)] == [True]  # it is loaded with its movie


def test_remakes_stay_apart(lake: MoviesLake) -> None:
    lake.archive("a", movie(1, Title="The Fly", Year="1958"), movie(2, Title="The Fly", Year="1986"))

    lake.run()

    assert len(titles(lake)) == 2
    assert lake.rows("SELECT COUNT(*), COUNT(DISTINCT IMDB_ID) FROM MOVIES.MOVIE_REVIEWS") == [(4, 2)]


NAMES = {
    "the list of ratings": ["ratings.csv"],
    "joined files": ["a.csv", "records.csv"],
    "the folder of what is read besides": ["read/ratings.csv"],
    "converted files": ["movies.csv", "movies.rfc4180.csv"],
    "the longest part": [f"{'m' * 251}.csv"],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=list(NAMES))
def test_members_may_have_any_name(lake: MoviesLake, names: list[str]) -> None:
    csvs = {name: csv_bytes([movie(number)]) for number, name in enumerate(names)}
    files = {name: (data, 1) for name, data in csvs.items()}
    lake.write("a.zip", zipped({**csvs, "manifest.json": manifest(len(csvs), CREATED, files)}))

    report = lake.run()

    assert (report.new, report.loaded, report.rejected) == (1, 1, 0)
    assert len(titles(lake)) == len(names)
    assert len(lake.rows("SELECT IMDB_ID FROM MOVIES.MOVIE_REVIEWS")) == 2 * len(names)
    assert len(list((lake.home / "lake" / "movie-processed").rglob(Path(names[-1]).name))) >= 1


def test_an_old_archive_may_have_the_name_of_a_converted_file(lake: MoviesLake) -> None:
    csvs = {
        "movies.csv": csv_bytes([movie(1, Plot='say "hi"')], doublequote=False, escapechar="\\"),
        "movies.rfc4180.csv": csv_bytes([movie(2)]),
    }
    lake.write("a.zip", zipped({**csvs, "manifest.json": old_manifest(2)}))

    lake.run()

    assert len(titles(lake)) == 2


def test_an_old_archive_may_have_compressed_files(lake: MoviesLake) -> None:
    data = csv_bytes([movie(1, Plot='say "hi", twice')], doublequote=False, escapechar="\\")
    lake.write("a.zip", zipped({"movies.csv": gzip.compress(data), "manifest.json": old_manifest(1)}))

    lake.run()

    assert lake.rows("SELECT PLOT FROM MOVIES.MOVIES_LANDING") == [('say "hi", twice',)]


def test_an_archive_may_have_the_longest_name(lake: MoviesLake) -> None:
    data = csv_bytes([movie(1)])
    content = zipped({"m.csv": data, "manifest.json": manifest(1, CREATED, {"m.csv": (data, 1)})})
    short = lake.write("a.zip", content)
    short.rename(short.with_name(f"{'é' * 125}x.zip"))

    assert lake.run().loaded == 1
    assert len(titles(lake)) == 1


def test_a_name_that_is_too_long_for_a_key_rejects_its_archive(lake: MoviesLake) -> None:
    data, name = csv_bytes([movie(1)]), "/".join(["f" * 200] * 5 + ["m.csv"])
    lake.write("a.zip", zipped({name: data, "manifest.json": manifest(1, CREATED, {name: (data, 1)})}))

    report = lake.run()

    assert (report.new, report.loaded, report.rejected) == (1, 0, 1)
    assert lake.rows("SELECT REASON_CODE FROM OPS.QUARANTINE") == [("archive_unusable_name",)]
    assert lake.files("movie-processed") == []


def test_an_empty_file_before_others_costs_none_of_their_records(lake: MoviesLake) -> None:
    csvs = {"a.csv": b"", "b.csv": csv_bytes([movie(1), movie(2)])}
    files = {"a.csv": (b"", 0), "b.csv": (csvs["b.csv"], 2)}
    lake.write("a.zip", zipped({**csvs, "manifest.json": manifest(2, CREATED, files)}))

    lake.run()

    assert len(titles(lake)) == 2


def test_damaged_pages_of_a_parquet_file_reject_its_archive_and_not_the_run(lake: MoviesLake) -> None:
    data = bytearray(parquet_bytes([movie(number) for number in range(2000)]))
    data[100:600] = b"\xff" * 500
    files = {"movies.parquet": (bytes(data), 2000)}
    lake.write("a.zip", zipped({"movies.parquet": bytes(data), "manifest.json": manifest(2000, CREATED, files)}))
    lake.archive("b", movie(1))

    report = lake.run()

    assert (report.new, report.loaded, report.rejected) == (2, 1, 1)
    assert titles(lake) == [("tt0000001", "Movie 1")]


def test_na_and_blanks_are_null_in_parquet_as_in_csv(tmp_path: Path) -> None:
    movies = [movie(1), movie(2, Title="N/A", Genre=" ", Director=""), movie(3, imdbID="N/A")]
    tables = []
    for name, data in {"m.csv": csv_bytes(movies), "with_nulls.parquet": parquet_bytes(movies)}.items():
        lake = MoviesLake.with_tables(tmp_path / name)
        lake.write("a.zip", zipped({name: data, "manifest.json": manifest(3, CREATED, {name: (data, 3)})}))
        lake.run()
        tables.append({table: rows for table, rows in lake.tables().items() if table != "MOVIE_VERSIONS"})

    assert tables[0] == tables[1]
    assert titles(lake) == [("tt0000001", "Movie 1"), ("tt0000002", None)]
