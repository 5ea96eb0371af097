"""The 26 columns of a movie, as OMDb has them, and how a source's values and column names map to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime

from pipeline_assets.errors import ConfigurationError, one_line

# fmt: off
COLUMNS = (
    "Title", "Year", "Rated", "Released", "Runtime", "Genre", "Director", "Writer", "Actors", "Plot", "Language",
    "Country", "Awards", "Poster", "Ratings", "Metascore", "imdbRating", "imdbVotes", "imdbID", "Type", "DVD",
    "BoxOffice", "Production", "Website", "Response", "totalSeasons",
)
# fmt: on
PRIMARY_KEY = "imdbID"
Row = tuple[str | None, ...]

_NAMES = {name.lower(): name for name in COLUMNS}


def column_of(name: str) -> str | None:
    """The column with a source's name in any case, or None."""
    return _NAMES.get(name.lower())


def row_builder(names: Sequence[str]) -> Callable[[Sequence[object]], Row]:
    """A function that makes a row of the 26 columns from the values of a result with these column names.

    Raises:
        ConfigurationError: a name is not one of the 26, or occurs twice, or the key is not among them.
    """
    columns = [column_of(name) for name in names]
    if unknown := [one_line(name)[:64] for name, column in zip(names, columns, strict=True) if column is None]:
        raise ConfigurationError(
            f"The SELECT of movies yields columns that a movie does not have: {', '.join(unknown)}.",
            remedy=f"Name them as one of {', '.join(COLUMNS)} in PIPELINE_MOVIES_SELECT, or leave them out.",
        )
    if twice := sorted({column for column in columns if column and columns.count(column) > 1}):
        raise ConfigurationError(
            f"The SELECT of movies yields {', '.join(twice)} more than once.",
            remedy="Leave all but one out, in PIPELINE_MOVIES_SELECT.",
        )
    if PRIMARY_KEY not in columns:
        raise ConfigurationError(
            f"The SELECT of movies does not yield {PRIMARY_KEY}, which is the key.",
            remedy=f"Name a column {PRIMARY_KEY} in PIPELINE_MOVIES_SELECT; docs/movies.md has examples.",
        )
    positions = [columns.index(name) if name in columns else None for name in COLUMNS]

    def build(values: Sequence[object]) -> Row:
        return tuple(
            None if at is None else as_text(name, values[at]) for name, at in zip(COLUMNS, positions, strict=True)
        )

    return build


def as_text(column: str, value: object) -> str | None:
    """The value of a column as text: lists and objects as JSON, times in ISO 8601, numbers as Python writes them.

    Half a surrogate pair, which UTF-8 does not have, becomes its escape sequence (`\\ud83d`).

    Raises:
        ConfigurationError: the value is binary.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes | bytearray | memoryview):
        raise ConfigurationError(
            f"The column {column} of movies is binary.", remedy="CAST it to text in PIPELINE_MOVIES_SELECT."
        )
    elif isinstance(value, datetime | date):
        text = value.isoformat()
    elif isinstance(value, list | tuple | dict):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
