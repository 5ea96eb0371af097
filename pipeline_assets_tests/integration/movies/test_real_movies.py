"""Files that nobody here wrote become tables by the documented SELECTs, as a user would load them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline_assets_tests.integration.movies.test_mappings import select
from pipeline_assets_tests.support.movies_lake import MoviesLake


@pytest.mark.slow
def test_the_movies_of_vega_are_extracted_and_loaded_without_a_loss(shared_data: Path, tmp_path: Path) -> None:
    """Ids that are longer than those of IMDb are ids as well."""
    path = (shared_data / "movies" / "vega_movies.json").resolve()
    lake = MoviesLake.at(tmp_path, movies_source_url=path.as_uri(), movies_select=select("vega"))
    movies = json.loads(path.read_text())

    first = lake.run(extract=True)
    again = lake.run(extract=True)

    assert (first.loaded, first.rejected, first.rows["quarantined"]) == (1, 0, 0)
    assert lake.rows("SELECT COUNT(*), COUNT_IF(IS_CURRENT) FROM MOVIES.DIM_MOVIE") == [(len(movies), len(movies))]
    rated = [m for name in ("IMDB Rating", "Rotten Tomatoes Rating") for m in movies if m[name] is not None]
    assert lake.rows("SELECT COUNT(*) FROM MOVIES.FACT_MOVIE_REVIEW") == [(len(rated),)]
    assert (again.new, again.rows["read"]) == (0, 0)
