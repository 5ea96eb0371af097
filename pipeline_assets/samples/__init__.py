"""Sample sources for each pipeline, at any scale, with dirty records.

`bookings`, `commerce`, `movies`, `orders` and `reviews` define each pipeline's files, `files` writes a file atomically,
and `records` decides which records exist and which are dirty. Samples are written into a plain folder, as by a source
system; nothing here imports the lake or the warehouse.

Nothing is random: each value is a hash of (seed, column, entity number). So a larger scale has the same records and
more after them, and writing the same samples twice changes no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import bookings, commerce, movies, orders, reviews
from .files import SampleFile

__all__ = ["SOURCES", "SampleFile", "SampleSource", "write_samples"]


@dataclass(frozen=True)
class SampleSource:
    """How a pipeline's samples are written, and where.

    They land in the pipeline's bucket, or, if `extracted`, are what the pipeline extracts or tails:
    $PIPELINE_HOME/sources/<pipeline>.
    """

    write: Callable[..., list[SampleFile]]
    extracted: bool = False


SOURCES: Mapping[str, SampleSource] = {
    "bookings": SampleSource(bookings.write),
    "commerce": SampleSource(commerce.write, extracted=True),
    "movies": SampleSource(movies.write, extracted=True),
    "orders": SampleSource(orders.write),
    "reviews": SampleSource(reviews.write, extracted=True),
}


def write_samples(pipeline: str, directory: Path, *, scale: float = 1.0, seed: int = 2024) -> list[SampleFile]:
    """Write the sample sources of `pipeline` below `directory` (its bucket or source folder) and describe them.

    `scale` is linear: 1.0 is a small, quick set (500 customers and 4,000 bookings for `bookings`, 1,500 customers
    and 15,000 orders for `commerce`, 2,000 movies for `movies`, 2,000 orders for `orders`, 1,000 books and 5,000
    reviews for `reviews`). The same (scale, seed) gives the same bytes, and a file that already has them is not
    written, so its mtime stays.

    Raises ValueError for a pipeline without samples and for a scale that is not a finite positive number.
    """
    if pipeline not in SOURCES:
        raise ValueError(f"no samples for pipeline {pipeline!r}; choose one of: {', '.join(sorted(SOURCES))}")
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"scale must be a finite number above 0, got {scale!r}; 1.0 is the usual small set")
    return SOURCES[pipeline].write(Path(directory), scale=scale, seed=seed)
