"""The pictures of movies show the rows that their names promise."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets.orchestration.plots import plot_rows
from pipeline_assets_tests.support.movies_lake import CREATED, MoviesLake, movie, pipeline, ratings


@pytest.fixture
def lake(tmp_path: Path) -> MoviesLake:
    return MoviesLake.with_tables(tmp_path / "home")


def plotted(lake: MoviesLake) -> dict[str, list[tuple]]:
    with lake.platform.warehouse.read_only() as transaction:
        rows = plot_rows(transaction, pipeline(), {plot.of for plot in pipeline().plots})
    assert len(rows) == len(pipeline().plots)
    return {plot.declared.name: [tuple(row) for row in found] for plot, found in rows.items()}


def test_ratings_are_counted_by_tens(lake: MoviesLake) -> None:
    values = ["0/100", "9/100", "10/100", "55%", "59%", "8.9/10", "90/100", "100/100"]
    lake.archive("a", *(movie(n, Ratings=ratings(("IMDb", value))) for n, value in enumerate(values, 1)))
    lake.run()
    expected = [("0–9", 2), ("10–19", 1), ("50–59", 2), ("80–89", 1), ("90–100", 2)]
    assert plotted(lake)["rating_distribution"] == expected


def test_genres_are_counted_and_the_most_frequent_are_first(lake: MoviesLake) -> None:
    lake.archive("a", movie(1, Genre="Crime, Drama"), movie(2, Genre="Drama"), movie(3, Genre="Action, Drama"))
    lake.run()
    assert plotted(lake)["movies_per_genre"] == [("Drama", 3), ("Action", 1), ("Crime", 1)]


def test_top_movies_have_ratings_of_two_providers_at_least(lake: MoviesLake) -> None:
    """One enthusiast makes no top movie."""
    lake.archive(
        "a",
        movie(1, Title="One", Ratings=ratings(("IMDb", "10/10"))),
        movie(2, Title="Two", Ratings=ratings(("IMDb", "6/10"), ("Metacritic", "80/100"))),
        movie(3, Title="Remake", Ratings=ratings(("IMDb", "9/10"), ("Metacritic", "90/100"))),
        movie(4, Title="Remake", Ratings=ratings(("IMDb", "9/10"), ("Metacritic", "90/100"), ("X", "90/100"))),
        *(movie(n, Ratings=ratings(("IMDb", "1/10"), ("X", "10/100"))) for n in range(5, 20)),
    )
    lake.run()
    rows = plotted(lake)["top_movies"]
    assert len(rows) == 10
    assert [(title, int(rating)) for title, rating in rows[:3]] == [("Remake", 90), ("Remake", 90), ("Two", 70)]


def test_the_history_is_of_the_movie_that_changed_most_often(lake: MoviesLake) -> None:
    lake.archive("a", movie(1, Title="Same"), movie(2, Title="Old", imdbRating="7.1"))
    lake.run()
    assert plotted(lake)["longest_history"] == []
    renamed = CREATED + timedelta(days=1)
    lake.archive("b", movie(1, Title="Same"), movie(2, Title="New", imdbRating="N/A"), created=renamed)
    lake.run()
    created: list[datetime] = [moment.replace(tzinfo=None) for moment in (CREATED, renamed)]
    assert plotted(lake)["longest_history"] == [
        ("New", created[1], None),
        ("Old, IMDb 7.10", created[0], created[1]),
    ]
