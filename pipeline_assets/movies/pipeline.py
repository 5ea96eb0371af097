"""Movie archives: CSV and Parquet with a manifest, unpacked into tables and a star schema with history."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from pipeline_assets.movies.archive import archive_contents
from pipeline_assets.movies.extract import check_source, extract_in_batch
from pipeline_assets.pipeline import (
    Archive,
    Bucket,
    CsvExport,
    History,
    LandedFiles,
    ListColumn,
    Mart,
    Pipeline,
    Plot,
    Step,
    Table,
    View,
    kind_of_source,
)

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


def movies(settings: Settings | None) -> Pipeline:
    """The pipeline with the kind of source that archives are extracted from: a database, `file` or `api`."""
    url = settings.movies_source_url if settings else None
    return _extracted_from("api" if settings and settings.movies_api_url else kind_of_source(url))


@cache
def _extracted_from(kind: str) -> Pipeline:
    archives, ratings = MOVIES.sources
    assert isinstance(archives, LandedFiles)
    return replace(MOVIES, sources=[replace(archives, database=kind), ratings])


MOVIES = Pipeline(
    "movies",
    bucket="movie-archive",
    sources=[
        LandedFiles(
            "movies",
            "zipped/**/*.zip",
            bucket="movie-landing",
            archive=Archive("movie-processed", "movie_data/", archive_contents),
        ),
        ListColumn("ratings", of="movies", column="RATINGS"),
    ],
    tables=[
        Table("movies_landing"),
        Table("movie_versions", write="append"),
        Table("movie_reviews"),
        History("dim_movie", of="movie_versions"),
        Mart("dim_genre", refresh="full"),
        Mart("bridge_movie_genre", refresh_by="IMDB_ID"),
        Mart("dim_person", refresh="full"),
        Mart("bridge_movie_person", refresh_by="IMDB_ID"),
        Mart("fact_movie_review", refresh_by="IMDB_ID"),
        Mart("movie_overview", refresh_by="IMDB_ID"),
        View("rating_charts"),
    ],
    exports=[
        CsvExport("movies_csv", of="movies_landing", key="archival/full_data/movies_{started_at}_{batch_id}.csv"),
        CsvExport("reviews_csv", of="movie_reviews", key="archival/review/reviews_{started_at}_{batch_id}.csv"),
    ],
    plots=[
        Plot("rating_distribution", of="movie_reviews", kind="bar"),
        Plot("movies_per_genre", of="bridge_movie_genre", kind="barh"),
        Plot("top_movies", of="movie_overview", kind="barh"),
        Plot("longest_history", of="dim_movie", kind="intervals"),
    ],
    check_source=check_source,
    steps=[Step("extract", extract_in_batch)],
    buckets=[
        Bucket("movie-landing"),
        Bucket("movie-processed"),
        Bucket("movie-archive", archive_after_days=30),
    ],
    configured=movies,
)
