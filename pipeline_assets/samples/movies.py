"""The sample source of pipeline `movies`: a SQLite database with a table `movies`, as an application would have it.

This module has the file and its number of movies; `movies_rows` has the rows, and is imported late because it needs
numpy and pyarrow. There are never fewer than 60 movies, so that each kind of dirt occurs in a set that is still mostly
clean.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from .files import SampleFile, publisher

MOVIES_PER_SCALE = 2_000
FEWEST_MOVIES = 60

WRITTEN = datetime(2024, 5, 1, 4, 0, tzinfo=UTC)


def write(directory: Path, *, scale: float, seed: int) -> list[SampleFile]:
    """Write movies.db below `directory` and describe it.

    `scale` 1.0 is 2,000 movies; at 0.03 and below, 60. A larger scale has the same movies and more after them. Raises
    OSError when the folder cannot be written.
    """
    from . import movies_rows as rows

    count = max(FEWEST_MOVIES, round(MOVIES_PER_SCALE * scale))
    with publisher(directory) as folder:
        return [folder.publish_database("movies.db", "movies", rows.movies(seed, count), modified=WRITTEN)]
