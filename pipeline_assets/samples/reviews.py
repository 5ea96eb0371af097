"""The sample source of pipeline `reviews`: a SQLite database with books and their reviews, as a shop would have it.

This module has the file and its numbers of rows; `reviews_rows` has the rows, and is imported late because it needs
numpy and pyarrow. There are never fewer than 40 books and 200 reviews, so that each kind of dirt occurs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from .files import SampleFile, publisher

BOOKS_PER_SCALE, REVIEWS_PER_SCALE = 1_000, 5_000
FEWEST_BOOKS, FEWEST_REVIEWS = 40, 200

WRITTEN = datetime(2024, 6, 1, 4, 0, tzinfo=UTC)


def write(directory: Path, *, scale: float, seed: int) -> list[SampleFile]:
    """Write reviews.db below `directory` and describe its two tables.

    `scale` 1.0 is 1,000 books and 5,000 reviews. A larger scale has the same rows and more after them, but reviews of
    more books. Raises OSError when the folder cannot be written.
    """
    from . import reviews_rows as rows

    books = max(FEWEST_BOOKS, round(BOOKS_PER_SCALE * scale))
    reviews = max(FEWEST_REVIEWS, round(REVIEWS_PER_SCALE * scale))
    tables = {"amazone_books": rows.books(seed, books), "amazonebook_reviews": rows.reviews(seed, reviews)}
    with publisher(directory) as folder:
        return folder.publish_tables("reviews.db", tables, modified=WRITTEN, indexed="business_date, book_id")
