"""Archives of movies are the unit of acceptance: loaded whole once, or rejected whole with the reason."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_assets.batch.report import BatchReport
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
DATA = csv_bytes([movie(1), movie(2)])
FILES = {"movies.csv": (DATA, 2)}


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


WHICH_COUNTS = {  # each for a movie of its own
    "the manifest's time orders versions, not the time of the object": "Newer",
    "new bytes at a key win over the bytes that lay there, whatever their manifest states": "Corrected",
    "the time of a rejected archive orders nothing": "Newer",
    "the time of a copy that loaded nothing orders nothing": "Newer",
    "what is no archive is rejected, and a corrected delivery is loaded": "Corrected",
}


def test_which_version_of_a_movie_counts(lake: MoviesLake) -> None:
    lake.archive("newer", movie(1, Title="Newer"), created=LATER, modified=CREATED)
    lake.archive("older", movie(1, Title="Older"), created=CREATED, modified=LATER + timedelta(days=30))
    lake.archive("key", movie(2, Title="First"), created=LATER)
    lake.write("rejected.zip", b"broken", LATER + timedelta(days=30))
    copied = lake.archive("copied", movie(4, Title="Older"))
    lake.write("corrected.zip", b"no archive", CREATED)
    assert lake.run().rejected == 2

    lake.archive("key", movie(2, Title="Corrected"), created=CREATED)
    lake.archive("rejected", movie(3, Title="Older"), created=CREATED)
    shutil.copy(copied, copied.with_name("copy.zip"))  # now, which is later than what the manifests state
    lake.archive("corrected", movie(5, Title="Corrected"), created=LATER)
    lake.run()
    assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL AND CLOSED_AT IS NULL") == [(0,)]

    lake.archive("after_rejected", movie(3, Title="Newer"), created=LATER)
    lake.archive("copied", movie(4, Title="Newer"), created=LATER)
    lake.run()
    assert dict(zip(WHICH_COUNTS, (title for _, title in titles(lake)), strict=True)) == WHICH_COUNTS

    before = lake.tables()
    lake.run(reprocess=True)
    after = lake.tables()
    # One more: the bytes that copied.zip had.
    assert len(after.pop("MOVIE_VERSIONS")) == len(before.pop("MOVIE_VERSIONS")) + 1
    assert after == before


def test_a_rejected_archive_is_replayed_as_a_whole(lake: MoviesLake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.write("a.zip", zipped({"movies.csv": DATA, "manifest.json": manifest(3, CREATED, FILES)}), CREATED)
    lake.run()
    monkeypatch.setattr("pipeline_assets.movies.archive.verify", lambda *_, **__: None)  # as if a rule was relaxed

    lake.run(replay=True)

    assert len(titles(lake)) == 2
    assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL") == [(0,)]


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


# --- one batch with every archive below, which the tests only read ----------------------------------------------

ARCHIVES: dict[str, bytes] = {}  # accepted ones by name; the movies of each have numbers of their own


@dataclass(frozen=True)
class Taken:
    lake: MoviesLake
    report: BatchReport


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    lake = MoviesLake.with_tables(tmp_path_factory.mktemp("taken"))
    future = lake.platform.clock().replace(tzinfo=CREATED.tzinfo) + timedelta(days=2)
    broken = BROKEN | {FUTURE: {"movies.csv": DATA, "manifest.json": manifest(2, future, FILES)}}
    for number, (name, content) in enumerate((ARCHIVES | {k: zipped(v) for k, v in broken.items()}).items()):
        lake.write(f"{number}.zip", content, CREATED).rename(lake.path(f"{name}.zip"))
    report = lake.run()
    assert lake.run().known == report.new == len(ARCHIVES) + len(broken)
    return Taken(lake, report)


@pytest.fixture
def batch(taken: Taken) -> MoviesLake:
    return taken.lake


def archive(movies: Sequence[Mapping[str, str]]) -> bytes:
    data = csv_bytes(movies)
    return zipped({"m.csv": data, "manifest.json": manifest(len(movies), CREATED, {"m.csv": (data, len(movies))})})


def several(files: Mapping[str, tuple[bytes, int]], total: int, folder: str = "") -> bytes:
    """An archive with these files, each with its number of rows, and their manifest in the folder."""
    members = {name: content for name, (content, _) in files.items()}
    return zipped(members | {f"{folder}manifest.json": manifest(total, CREATED, files)})


def of(lake: MoviesLake, first: int, columns: str = "TITLE") -> list[tuple]:
    """Columns of the published movies with a number of one hundred."""
    key = f"tt{first // 100:05}%"
    return lake.rows(f"SELECT {columns} FROM MOVIES.MOVIES_LANDING WHERE IMDBID LIKE '{key}' ORDER BY IMDBID")


def reviews(lake: MoviesLake, first: int, columns: str = "REVIEW_PROVIDER, RATING") -> list[tuple]:
    """The same of their ratings."""
    key = f"tt{first // 100:05}%"
    return lake.rows(f"SELECT {columns} FROM MOVIES.MOVIE_REVIEWS WHERE IMDB_ID LIKE '{key}' ORDER BY 1")


def quarantined(lake: MoviesLake, name: str, columns: str) -> list[tuple]:
    uri = f"%/{name}.zip%"
    return lake.rows(f"SELECT {columns} FROM OPS.QUARANTINE WHERE SOURCE_URI LIKE '{uri}' ORDER BY {columns}")


def rows_read(lake: MoviesLake) -> dict[str, int]:
    """Of each loaded archive."""
    name = "REGEXP_SUBSTR(URI, '[^/]+$')"
    found = lake.rows(f"SELECT {name}, SUM(ROWS_READ) FROM OPS.FILE_LEDGER WHERE STATUS = 'loaded' GROUP BY 1")
    return {key.removesuffix(".zip"): int(rows) for key, rows in found}


LONG = "/".join(["f" * 200] * 5 + ["m.csv"])
DAMAGED = parquet_bytes([movie(number) for number in range(100)] * 20)
DAMAGED = DAMAGED[:100] + b"\xff" * 500 + DAMAGED[600:]
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
    "damaged pages of a Parquet": {
        "movies.parquet": DAMAGED,
        "manifest.json": manifest(2000, CREATED, {"movies.parquet": (DAMAGED, 2000)}),
    },
    "a name that is too long for a key": {LONG: DATA, "manifest.json": manifest(2, CREATED, {LONG: (DATA, 2)})},
}


FUTURE = "a manifest from the future"
REJECTED = dict.fromkeys((*BROKEN, FUTURE), "manifest_mismatch") | {
    "a Parquet that is none": "unreadable_object",
    "damaged pages of a Parquet": "unreadable_object",
    "a name that is too long for a key": "archive_unusable_name",
}


def test_an_archive_that_differs_from_its_manifest_is_rejected_whole_and_the_others_load(taken: Taken) -> None:
    objects = taken.lake.rows("SELECT SOURCE_URI, REASON_CODE FROM OPS.QUARANTINE WHERE LINE_NUMBER IS NULL")
    found = [(uri.rpartition("/")[2].removesuffix(".zip"), code) for uri, code in objects]
    assert dict(found) == REJECTED
    assert len(found) == len(REJECTED)
    assert (taken.report.loaded, taken.report.rejected) == (len(ARCHIVES), len(REJECTED))
    assert of(taken.lake, 0) == []
    processed = taken.lake.files("movie-processed")
    assert processed
    assert [key for key in processed if any(f"/{case}-" in key for case in REJECTED)] == []


def test_an_archive_from_the_future_is_rejected(batch: MoviesLake) -> None:
    ((reason,),) = quarantined(batch, FUTURE, "REASON")
    assert "in the future" in reason


ARCHIVES["equal"] = ARCHIVES["equal too"] = archive([movie(101)])


def test_two_equal_archives_in_one_batch_are_read_once(batch: MoviesLake) -> None:
    assert len(of(batch, 100)) == 1
    assert sorted(rows_read(batch)[name] for name in ("equal", "equal too")) == [0, 1 + 2]


TWINS = [movie(201), movie(202)]
ARCHIVES["twins"] = several(
    {"d/movies.csv": (csv_bytes(TWINS), 2), "d/movies.parquet": (parquet_bytes(TWINS), 2)}, 2, "d/"
)


def test_of_twins_one_is_loaded(batch: MoviesLake) -> None:
    assert rows_read(batch)["twins"] == 2 + 4
    assert len(of(batch, 200)) == 2


ARCHIVES["parts"] = several(
    {
        "part-0.csv": (csv_bytes([movie(301), movie(302)]), 2),
        "part-1.csv": (csv_bytes([movie(303)]).rstrip(b"\n"), 1),
        "part-2.csv": (csv_bytes([movie(304)]), 1),
    },
    4,
)


def test_several_csv_files_are_one_extract(batch: MoviesLake) -> None:
    assert len(of(batch, 300)) == 4


PLOT = 'She said "no, never", twice\\once'
ESCAPED = csv_bytes([movie(401, Plot=PLOT), movie(402)], doublequote=False, escapechar="\\", quoting=1)
ARCHIVES["old"] = zipped({"movies.csv": ESCAPED, "meta/data.json": old_manifest(2)})


def test_old_archives_escape_quotes_with_a_backslash(batch: MoviesLake) -> None:
    assert of(batch, 400, "PLOT") == [(PLOT,), (None,)]
    assert len(reviews(batch, 400)) == 4
    assert quarantined(batch, "old", "REASON_CODE") == []


ZIPPED = csv_bytes([movie(501), movie(502)])
DESCRIBED = manifest(2, CREATED, {"movies.csv": (ZIPPED, 2)})
ARCHIVES["folder"] = zipped({"extract/movies.csv": ZIPPED, "extract/manifest.json": DESCRIBED})


def test_a_zipped_folder_is_an_archive_as_well(batch: MoviesLake) -> None:
    """Names in a manifest are relative to its own folder."""
    assert len(of(batch, 500)) == 2


EMPTY = csv_bytes([])
ARCHIVES["empty"] = archive([])
ARCHIVES["empty of Windows"] = several({"m.csv": (b"\xef\xbb\xbf" + EMPTY.replace(b"\n", b"\r\n"), 0)}, 0)


def test_an_archive_without_movies_loads_nothing_and_is_known(batch: MoviesLake) -> None:
    assert [rows_read(batch)[name] for name in ("empty", "empty of Windows")] == [0, 0]


LISTED = ratings(("IMDb", "8/10"), ("Critics", "A+"), ("Blank", ""), ("Metacritic", "N/A"))
ERROR = movie(602, Response="False", imdbID="tt9", Title="Incorrect IMDb ID.")
ARCHIVES["error answer"] = archive([movie(601, Ratings=LISTED), ERROR])


def test_error_answers_are_quarantined_as_such_and_a_bad_rating_without_its_movie(batch: MoviesLake) -> None:
    assert len(of(batch, 600)) == 1
    assert reviews(batch, 600) == [("IMDb", 80)]
    assert quarantined(batch, "error answer", "DATASET, REASON_CODE") == [
        ("movies", "source_error"),
        ("ratings", "not_accepted_value"),
    ]


def test_every_row_that_was_read_is_loaded_superseded_or_quarantined(taken: Taken) -> None:
    rows = taken.report.rows
    assert rows["read"] == sum(rows[name] for name in ("loaded", "superseded", "quarantined"))


VALUES = {"82/100": 82, "9.3/10": 93, "89%": 89, "4/5": 80, "3.5/4": 88, "8.25/10": 83, "0%": 0, "100%": 100}
BAD = ("12/10", "101%", "-1/10", "A", "5", "1e1%", "82/ 100 x", "½/5")
ARCHIVES["values"] = archive([movie(701, Ratings=ratings(*((value, value) for value in (*VALUES, *BAD))))])


def test_ratings_are_whole_numbers_up_to_100(batch: MoviesLake) -> None:
    assert dict(reviews(batch, 700)) == VALUES
    assert quarantined(batch, "values", "REASON_CODE") == [("not_accepted_value",)] * len(BAD)


LISTED_TWICE = ratings(("IMDb", "8/10"), ("IMDb", "8/10"), ("Critics", "10%"), ("Critics", "20%"))
ARCHIVES["listed twice"] = archive([movie(801, Ratings=LISTED_TWICE)])


def test_a_provider_that_is_listed_twice_counts_once_and_the_last_value_with_a_note(taken: Taken) -> None:
    assert reviews(taken.lake, 800) == [("Critics", 20), ("IMDb", 80)]
    assert [note for note in taken.report.notes if "listed twice" in note and "tt0000801, Critics" in note]


PRINTED = "[{'Source': \"O'Neil\", 'Value': '8/10'}]"
ARCHIVES["printed"] = archive([movie(901, Ratings=PRINTED), movie(902, Ratings="[oops")])


def test_lists_may_be_written_as_python_prints_them(batch: MoviesLake) -> None:
    assert reviews(batch, 900) == [("O'Neil", 80)]
    assert quarantined(batch, "printed", "RAW_RECORD") == [("tt0000902,Movie 902,,[oops",)]


FIRST = movie(1001, Ratings=ratings(("IMDb", "1/10"), ("Old", "1/10")))
ARCHIVES["twice"] = archive([FIRST, movie(1001, Title="Last", Ratings="N/A")])


def test_of_a_movie_that_is_in_one_archive_twice_the_last_record_counts_with_its_ratings(batch: MoviesLake) -> None:
    assert of(batch, 1000) == [("Last",)]
    assert reviews(batch, 1000) == []


def good_and_bad(first: int) -> list[dict[str, str]]:
    """A good record of a movie before a bad one, two bad ones of another movie, and more movies."""
    too_long = "R" * 1001
    return [
        movie(first, Title="Good", Ratings=ratings(("IMDb", "8/10"))),
        movie(first, Title="Bad", Rated=too_long, Ratings=ratings(("IMDb", "1/10"), ("Bad", "1/10"))),
        movie(first + 1, Rated=too_long, Ratings=ratings(("Old", "1/10"))),
        movie(first + 1, Rated=too_long, Ratings=ratings(("Last", "1/10"))),
        *(movie(first + number, Ratings="N/A") for number in range(2, 8)),
    ]


ARCHIVES["good and bad csv"] = archive(good_and_bad(1101))
ARCHIVES["good and bad parquet"] = several({"m.parquet": (parquet_bytes(good_and_bad(1201)), 10)}, 10)


@pytest.mark.parametrize(("form", "first"), [("csv", 1100), ("parquet", 1200)])
def test_of_a_movie_that_is_in_one_archive_twice_the_last_good_record_counts_with_its_ratings(
    batch: MoviesLake, form: str, first: int
) -> None:
    assert of(batch, first)[0] == ("Good",)
    expected = [(f"tt{first + 1:07}", "IMDb", 80)]
    assert reviews(batch, first, "IMDB_ID, REVIEW_PROVIDER, RATING") == expected
    records = quarantined(batch, f"good and bad {form}", "REASON_CODE, RAW_RECORD")
    waiting = [raw for code, raw in records if code == "orphan_rating"]
    assert ["Last" in raw for raw in waiting] == [True]  # it is loaded with its movie


ARCHIVES["remakes"] = archive([movie(1301, Title="The Fly", Year="1958"), movie(1302, Title="The Fly", Year="1986")])


def test_remakes_stay_apart(batch: MoviesLake) -> None:
    assert of(batch, 1300) == [("The Fly",)] * 2
    assert [key for (key,) in reviews(batch, 1300, "IMDB_ID")] == ["tt0001301"] * 2 + ["tt0001302"] * 2


NAMES = {
    "the list of ratings": ["ratings.csv"],
    "joined files": ["a.csv", "records.csv"],
    "the folder of what is read besides": ["read/ratings.csv"],
    "converted files": ["movies.csv", "movies.rfc4180.csv"],
    "the longest part": [f"{'m' * 251}.csv"],
}
for first, (case, names) in zip(range(1400, 1900, 100), NAMES.items(), strict=True):
    ARCHIVES[case] = several({name: (csv_bytes([movie(first + n)]), 1) for n, name in enumerate(names)}, len(names))


def test_members_may_have_any_name(batch: MoviesLake) -> None:
    expected = {case: (len(names), 2 * len(names)) for case, names in NAMES.items()}
    firsts = dict(zip(NAMES, range(1400, 1900, 100), strict=True))
    assert {case: (len(of(batch, first)), len(reviews(batch, first))) for case, first in firsts.items()} == expected
    processed = {path.name for path in (batch.home / "lake" / "movie-processed").rglob("*")}
    assert {Path(name).name for names in NAMES.values() for name in names} <= processed


ARCHIVES["converted name"] = zipped(
    {
        "movies.csv": csv_bytes([movie(1901, Plot='say "hi"')], doublequote=False, escapechar="\\"),
        "movies.rfc4180.csv": csv_bytes([movie(1902)]),
        "manifest.json": old_manifest(2),
    }
)


def test_an_old_archive_may_have_the_name_of_a_converted_file(batch: MoviesLake) -> None:
    assert len(of(batch, 1900)) == 2


HI = csv_bytes([movie(2001, Plot='say "hi", twice')], doublequote=False, escapechar="\\")
ARCHIVES["compressed"] = zipped({"movies.csv": gzip.compress(HI), "manifest.json": old_manifest(1)})


def test_an_old_archive_may_have_compressed_files(batch: MoviesLake) -> None:
    assert of(batch, 2000, "PLOT") == [('say "hi", twice',)]


ARCHIVES[f"{'é' * 125}x"] = archive([movie(2101)])


def test_an_archive_may_have_the_longest_name(batch: MoviesLake) -> None:
    assert len(of(batch, 2100)) == 1


ARCHIVES["empty before others"] = several({"a.csv": (b"", 0), "b.csv": (csv_bytes([movie(2201), movie(2202)]), 2)}, 2)


def test_an_empty_file_before_others_costs_none_of_their_records(batch: MoviesLake) -> None:
    assert len(of(batch, 2200)) == 2
