"""The tables of movies are what a plain Python model makes of all archives, in whatever order they come."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline_assets_tests.support import movies_model as model
from pipeline_assets_tests.support.movies_lake import CREATED, MoviesLake, movie, ratings
from pipeline_assets_tests.support.movies_model import Delivered

PROVIDERS = ("IMDb", "Rotten Tomatoes", "Metacritic")


def generated(seed: int, archives: int = 7) -> list[Delivered]:
    """Archives of a few movies of this seed; title, genre, poster and ratings change, some back to what they were."""
    chance = random.Random(seed)

    def record(number: int) -> dict[str, str]:
        listed = ((chance.choice(PROVIDERS), f"{chance.randint(0, 10)}/10") for _ in range(chance.randint(0, 3)))
        return movie(
            number,
            Title=chance.choice(("One", "Two", 'Ünder, "quoted"\nand cut')),
            Year=chance.choice(("1999", "2008–2013", "2019–", "N/A")),
            Genre=chance.choice(("Drama", "Crime, Drama", "Sci-Fi,  Drama ,Crime")),
            Poster=chance.choice(("N/A", "https://example.org/a.jpg")),
            Ratings=ratings(*listed),
            Response=chance.choice(("True",) * 9 + ("False",)),
        )

    return [
        Delivered(
            f"m{seed}-{number}",
            CREATED + timedelta(hours=chance.randint(0, 4)),  # some have one time
            [record(10 * seed + chance.randint(1, 4)) for _ in range(chance.randint(1, 6))],
        )
        for number in range(archives)
    ]


def deliver(lake: MoviesLake, archives: Sequence[Delivered]) -> None:
    for each in archives:
        lake.archive(each.name, *each.movies, created=each.created)


def require_modelled_tables(lake: MoviesLake, archives: Sequence[Delivered]) -> None:
    rows = lake.rows
    assert rows("SELECT IMDBID, TITLE, YEAR, GENRE FROM MOVIES.MOVIES_LANDING ORDER BY 1") == model.landing(archives)
    assert rows("SELECT IMDB_ID, REVIEW_PROVIDER, RATING FROM MOVIES.MOVIE_REVIEWS ORDER BY 1, 2") == (
        model.reviews(archives)
    )
    history = model.history(archives)
    assert (
        rows(
            "SELECT IMDB_ID, TITLE, START_YEAR, RELEASED, GENRES, POSTER, VALID_FROM, VALID_TO, IS_CURRENT "
            "FROM MOVIES.DIM_MOVIE ORDER BY IMDB_ID, VALID_FROM"
        )
        == history
    )
    assert rows("SELECT COUNT(DISTINCT MOVIE_SK) FROM MOVIES.DIM_MOVIE") == [(len(history),)]
    genres = model.genres(archives)
    assert (
        rows(
            "SELECT B.IMDB_ID, G.GENRE FROM MOVIES.BRIDGE_MOVIE_GENRE AS B "
            "JOIN MOVIES.DIM_GENRE AS G ON B.GENRE_SK = G.GENRE_SK ORDER BY 1, 2"
        )
        == genres
    )
    assert rows("SELECT GENRE FROM MOVIES.DIM_GENRE ORDER BY 1") == sorted({(genre,) for _, genre in genres})
    assert rows(
        "SELECT F.IMDB_ID, F.REVIEW_PROVIDER, F.RATING FROM MOVIES.FACT_MOVIE_REVIEW AS F "
        "JOIN MOVIES.DIM_MOVIE AS M ON F.MOVIE_SK = M.MOVIE_SK AND M.IS_CURRENT ORDER BY 1, 2"
    ) == model.reviews(archives)


def test_archives_in_any_order_and_again_give_the_tables_of_the_model(tmp_path: Path) -> None:
    archives = [each for seed in range(3) for each in generated(seed)]
    shuffled = archives.copy()
    random.Random(0).shuffle(shuffled)
    lake = MoviesLake.with_tables(tmp_path)

    while shuffled:
        size = random.Random(len(shuffled)).randint(3, 9)
        deliver(lake, shuffled[:size])
        del shuffled[:size]
        lake.run()
    require_modelled_tables(lake, archives)

    lake.run(reprocess=True)
    require_modelled_tables(lake, archives)


def test_credits_keep_their_order_and_what_a_writer_wrote_is_no_name(tmp_path: Path) -> None:
    lake = MoviesLake.with_tables(tmp_path)
    writers = 'Stephen King (short story "Rita, Red"), Frank Darabont (screenplay), Stephen King'
    lake.archive("a", movie(1, Director="Frank Darabont", Writer=writers, Actors="Ann, Bob"), movie(2, Writer="N/A"))

    lake.run()

    assert lake.rows(
        "SELECT B.ROLE, B.POSITION, P.NAME FROM MOVIES.BRIDGE_MOVIE_PERSON AS B "
        "JOIN MOVIES.DIM_PERSON AS P ON B.PERSON_SK = P.PERSON_SK WHERE B.IMDB_ID = 'tt0000001' ORDER BY 1, 2"
    ) == [
        ("actor", 1, "Ann"),
        ("actor", 2, "Bob"),
        ("director", 1, "Frank Darabont"),
        ("writer", 1, "Stephen King"),
        ("writer", 2, "Frank Darabont"),
    ]


TYPED = {
    ("Year", "START_YEAR"): {"1994": 1994, "2008–2013": 2008, "2019–": 2019, "N/A": None, "soon": None},
    ("Year", "END_YEAR"): {"1994": None, "2008–2013": 2013, "2008-2013": 2013, "2019–": None},
    ("Year", "DECADE"): {"1994": 1990, "2008–2013": 2000},
    ("Released", "RELEASED"): {
        "14 Oct 1994": "1994-10-14",
        "1 may 2001": "2001-05-01",
        "2001-02-03": "2001-02-03",
        "31 Feb 2001": None,
        "14 Foo 1994": None,
    },
    ("Runtime", "RUNTIME_MINUTES"): {"142 min": 142, "1 h 30 min": 90, "95": 95, "2 S min": None, "N/A": None},
    ("imdbVotes", "IMDB_VOTES"): {"2,345,678": 2345678, "7": 7, "many": None, ",": None},
    ("BoxOffice", "BOX_OFFICE"): {"$28,767,189": 28767189, "28": None, "$1.2M": None},
    ("Metascore", "METASCORE"): {"82": 82, "100": 100, "101": None},
    ("imdbRating", "IMDB_RATING"): {"9.3": "9.30", "10": "10.00", "10.1": None, "0": "0.00"},
    ("totalSeasons", "TOTAL_SEASONS"): {"5": 5, "five": None},
}


@pytest.mark.parametrize("engine", ["duckdb", "spark"])
def test_texts_become_values_or_null_on_every_engine(tmp_path: Path, engine: str) -> None:
    lake = MoviesLake.with_tables(tmp_path)
    cases = [
        (source, column, given, expected)
        for (source, column), values in TYPED.items()
        for given, expected in values.items()
    ]
    lake.archive("a", *(movie(number, **{source: given}) for number, (source, _, given, _) in enumerate(cases)))

    lake.run(engine=engine)

    for number, (_, column, given, expected) in enumerate(cases):
        sql = f"SELECT CAST({column} AS VARCHAR) FROM MOVIES.DIM_MOVIE WHERE IMDB_ID = 'tt{number:07}'"
        assert lake.rows(sql) == [(expected if expected is None else str(expected),)], (column, given)
