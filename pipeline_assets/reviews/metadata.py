"""The list of tables: which tables of the source are loaded, and how. One YAML file, PIPELINE_REVIEWS_TABLES."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Strategy = Literal["upsert", "append_distinct", "full_refresh", "scd2"]


@dataclass(frozen=True)
class ListedTable:
    """A table of the source. `key`, `cursor` and `personal` are its columns, as the source writes them.

    `schedule` is a cron expression; without one, the table is loaded when files land (`event`), and by the daily run.
    """

    name: str
    key: tuple[str, ...]
    cursor: tuple[str, ...] = ()
    strategy: Strategy = "upsert"
    deletes: Literal["ignore", "soft"] = "ignore"
    schedule: str | None = None
    event: bool = False
    format: Literal["parquet", "csv"] = "parquet"
    schema: Literal["evolve", "freeze"] = "evolve"
    owner: str = "data-platform"
    description: str = ""
    personal: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableList:
    """The tables of one source; `source` is the name of its database in the keys of the lake."""

    source: str
    tables: tuple[ListedTable, ...]
