"""The database that tables are extracted from: MySQL, MariaDB or a SQLite file, by SQLAlchemy URL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.reviews.position import Dialect
from pipeline_assets.reviews.types import MappedColumn
from pipeline_assets.spelling import resembling

if TYPE_CHECKING:
    import pyarrow as pa

SETTING = "PIPELINE_REVIEWS_SOURCE_URL"


@dataclass(frozen=True)
class Times:
    """The time of a source now: in UTC, and the earlier of UTC and its own time zone; without a zone."""

    utc: datetime
    earliest: datetime


class Source(Protocol):
    """An open database. `label` names it without user, password and parameters."""

    label: str
    dialect: Dialect

    def columns(self, table: str) -> tuple[MappedColumn, ...]:
        """The columns of a table, in order.

        Raises:
            ConfigurationError: there is no such table, or a column cannot be extracted.
            SourceError: the database failed.
        """

    def indexed(self, table: str) -> set[str]:
        """The columns that an index of the table begins with.

        Raises:
            SourceError: the database failed.
        """

    def times(self) -> Times:
        """The time now, by the clock of the database.

        Raises:
            SourceError: the database failed.
        """

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a SELECT that has few, in a snapshot of its own.

        Raises:
            SourceError: the database failed.
        """

    def read(
        self, table: str, columns: Sequence[MappedColumn], condition: str, scratch: Path, invalid: Counter[str]
    ) -> Generator[pa.RecordBatch, None, None]:
        """The rows of one SELECT, one snapshot; `invalid` counts values by column that became NULL.

        Raises:
            ConfigurationError: the SELECT is refused.
            SourceError: the database failed, or sent nothing for too long.
        """


def no_table(label: str, table: str, tables: Collection[str]) -> ConfigurationError:
    """The error for a table that is not in the source, or not visible to its user."""
    similar = resembling(table, tables) if tables else None
    there = f"did you mean {similar}?" if similar else f"it has {', '.join(sorted(tables)[:20]) or 'none'}."
    return ConfigurationError(
        f"{label} has no table {table} that its user may read; {there}",
        remedy="Correct the list of tables (PIPELINE_REVIEWS_TABLES), or grant SELECT on the table.",
    )
