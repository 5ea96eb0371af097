"""Movie archives: CSV and Parquet with a manifest, unpacked into tables and a star schema with history."""

from pipeline_assets.movies.archive import archive_contents
from pipeline_assets.pipeline import Archive, Bucket, CsvExport, LandedFiles, ListColumn, Pipeline, Table

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
    ],
    exports=[
        CsvExport("movies_csv", of="movies_landing", key="archival/full_data/movies_{started_at}_{batch_id}.csv"),
        CsvExport("reviews_csv", of="movie_reviews", key="archival/review/reviews_{started_at}_{batch_id}.csv"),
    ],
    buckets=[
        Bucket("movie-landing"),
        Bucket("movie-processed"),
        Bucket("movie-archive", archive_after_days=30),
    ],
)
