"""What a pipeline is: one value that says what it reads and what it makes.

Columns, types, keys and rules stand in the contracts, business logic in the SELECTs of `sql/<pipeline>/`; everything
else follows from these three (see `resolve`). Values only: nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

WriteMode = Literal["upsert", "append", "full_refresh"]
Phase = Literal["extract", "arrive", "promote"]


@dataclass(frozen=True)
class LandedFiles:
    """Files of one shape that somebody delivers; the contract of the same name describes them.

    `pattern` is matched with whole keys of `bucket` (the pipeline's own by default): `*` and `?` stay within a folder,
    `**/` stands for folders of any depth, `|` separates alternatives that share a prefix. Packed files (`.gz`) match
    as well. `version` names the column that tells which of two records is newer; by default it is the time of the
    object, as its store knows it.
    """

    name: str
    pattern: str
    bucket: str = ""
    version: str = ""


@dataclass(frozen=True)
class Table:
    """A warehouse table made from landed files, by `sql/<pipeline>/<name>.sql` or, without that file, as it is.

    `write` says what becomes of published rows: `upsert` keeps the newest version of each key (rows of a list are
    replaced with the record they belong to), `append` keeps every record and replaces those of an object that is
    processed again, `full_refresh` keeps the rows of the newest object only. A `filtered` SELECT leaves rows out on
    purpose; any other that loses one fails the batch.
    """

    name: str
    write: WriteMode = "upsert"
    filtered: bool = False


@dataclass(frozen=True)
class Mart:
    """A warehouse table made from tables, by `sql/<pipeline>/<name>.sql`.

    A batch makes those rows anew whose `refresh_by` columns have a value that it touched; they are columns that the
    SELECT groups or partitions by. `refresh="full"` makes all rows anew with each batch.
    """

    name: str
    refresh_by: str | Sequence[str] = ()
    refresh: Literal["touched", "full"] = "touched"

    @property
    def refresh_columns(self) -> tuple[str, ...]:
        return (self.refresh_by,) if isinstance(self.refresh_by, str) else tuple(self.refresh_by)


@dataclass(frozen=True)
class CsvExport:
    """One CSV for each batch, with the rows that it wrote to the table `of`; by default only those that differ.

    `key` is where it appears in the pipeline's bucket; `{batch_id}` is required in it, `{started_at}` is the time of
    the batch as YYYYMMDDTHHMMSSZ. A batch without such rows makes no file.
    """

    name: str
    of: str
    key: str
    only_changed: bool = True


@dataclass(frozen=True)
class LakeTable:
    """Parquet files in the lake, a folder per value of the contract's partition column.

    They are made by `sql/<pipeline>/<name>.sql` and lie below `prefix` (by default the table's name) in the
    pipeline's bucket. Names of files start with `file_prefix`, by default the pipeline's name.
    """

    name: str
    prefix: str = ""
    file_prefix: str = ""


@dataclass(frozen=True)
class Step:
    """Something that only one pipeline does in a batch: a function of its `batch.context.BatchContext`.

    `extract` runs before discovery when the run was asked to extract, `arrive` before discovery in every run, and
    `promote` after the commit. What it keeps for the next run it gives to `BatchContext.set_watermark`, which is
    published with the batch. A step has to be safe to repeat: a killed run repeats it.
    """

    phase: Phase
    run: Callable[[Any], None]


@dataclass(frozen=True)
class Bucket:
    """A bucket that the deployment creates; the watched prefixes and lake tables follow from the rest of the value.

    `archive_after_days`: objects move to Glacier after so many days. `watched` are landing prefixes of sources that
    the value does not have yet.
    """

    name: str
    archive_after_days: int | None = None
    watched: Sequence[str] = ()


@dataclass(frozen=True)
class DeliveryStream:
    """A Firehose stream that delivers into `prefix` of the pipeline's bucket."""

    name: str
    prefix: str


@dataclass(frozen=True, eq=False)
class Pipeline:
    """One pipeline. `bucket` is where it writes, and where its sources land unless they say otherwise.

    `folder` is where `contracts/` and `sql/` lie; by default `pipeline_assets/<name>/contracts` and `sql/<name>`.
    """

    name: str
    bucket: str
    sources: Sequence[LandedFiles] = ()
    tables: Sequence[Table | Mart] = ()
    exports: Sequence[CsvExport] = ()
    lake_tables: Sequence[LakeTable] = ()
    steps: Sequence[Step] = ()
    buckets: Sequence[Bucket] = ()
    streams: Sequence[DeliveryStream] = ()
    description: str = ""
    folder: Path | None = None
