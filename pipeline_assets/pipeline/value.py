"""What a pipeline is: one value that says what it reads and what it writes.

Columns, types, keys and rules are in the contracts, business logic in the SELECTs of `sql/<pipeline>/`; everything else
is derived from these three (see `resolve`). Values only: nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

WriteMode = Literal["upsert", "append", "append_distinct", "full_refresh"]
RefreshMode = Literal["touched", "full"]
Phase = Literal["extract", "arrive", "publish", "promote"]
PlotKind = Literal["bar", "barh", "line", "intervals"]


def kind_of_source(url: str | None) -> str:
    """The kind of what a URL names, as Dagster shows it: `mysql`, `file`; without one it is the sample in SQLite."""
    return (url or "sqlite").partition(":")[0].partition("+")[0]


@dataclass(frozen=True)
class ArchiveContents:
    """What is read of one archive: local CSV files of one header, read as one file, or a single Parquet file.

    `created_at`, UTC, orders the versions of their records; by default it is the time of the archive.
    """

    files: Sequence[Path]
    created_at: datetime | None = None


@dataclass(frozen=True)
class Archive:
    """How a landed zip archive is opened; it is accepted or rejected as a whole.

    `contents` gets its members (`lake.archives.Member`) and decides which of them are read; it raises a
    RejectedObjectError to reject the archive. The members of an accepted one are stored in `bucket`, below
    `<prefix><batch>/<archive>/`. An archive whose bytes were loaded under another key loads nothing.
    """

    bucket: str
    prefix: str
    contents: Callable[[Sequence[Any]], ArchiveContents]


@dataclass(frozen=True)
class Examined:
    """What a source's `examine` decides about new objects (`lake.LandedObject`), before they are read.

    `accepted` are read; `modified` of each orders versions. `rejected` are not, for the RejectedObjectError beside
    them. Objects in neither wait, and are new in the next run as well.
    """

    accepted: Sequence[Any]
    rejected: Sequence[tuple[Any, Exception]] = ()


@dataclass(frozen=True)
class LandedFiles:
    """Delivered files of one shape; the contract of the same name describes them.

    `pattern` must match whole keys of `bucket` (the pipeline's own by default): `*` and `?` stay within a folder, `**/`
    matches folders of any depth, `|` separates alternatives that share a prefix. Packed files (`.gz`) match
    as well. `version` names the column that tells which of two records is newer; by default it is the time of the
    object, as its store knows it.

    With `dated_keys` the folders below the prefix are `YYYY/MM/DD/` or `YYYY/MM/DD/HH/`, as delivery streams write
    them: that time orders versions, and a run may be limited to landing days. With `moved` the prefix is a
    folder `landing/` inside another one, and a run moves each object to `processing/<batch>/` beside it, and after the
    commit to `processed/<batch>/` or `rejected/<batch>/`; what is still in `landing/` is new.

    `examine` gets the `batch.context.BatchContext` and the new objects of a batch. `beside` matches objects that
    describe others: they lie in the zone, and are neither read nor reported. `database` is the kind of the database
    that the files are extracted from, as Dagster shows it (`mysql`), or `file` or `api`. Unless `watched`, a new object
    starts no run.
    """

    name: str
    pattern: str
    bucket: str = ""
    version: str = ""
    dated_keys: bool = False
    moved: bool = False
    archive: Archive | None = None
    examine: Callable[[Any, Sequence[Any]], Examined] | None = None
    beside: str = ""
    database: str = ""
    watched: bool = True


@dataclass(frozen=True)
class ListColumn:
    """The elements of the lists in a text column of archived CSV or Parquet records, each a record of its own.

    A list is JSON, or what Python prints for one, of objects; the contract of this name describes an element. A column
    of that contract that the record has as well, such as its key, has the record's value. Of several records of one key
    in a file only the list of the last good one counts. An element that breaks the contract is quarantined alone.
    """

    name: str
    of: str
    column: str


@dataclass(frozen=True)
class Table:
    """A warehouse table, computed from landed files by `sql/<pipeline>/<name>.sql` or, without that file, copied.

    `write` says what happens to published rows: `upsert` keeps the newest version of each key (rows of a list are
    replaced with the record they belong to), `append` keeps every record, or the last of each key and object if its
    contract has a key, and replaces those of an object that is processed again, `append_distinct` adds the rows that
    the table lacks (of equal rows it has as many as the object with most of them), `full_refresh` keeps the rows of the
    newest object only. A `filtered` SELECT leaves rows out on purpose; any other that loses one fails the batch.
    """

    name: str
    write: WriteMode = "upsert"
    filtered: bool = False


@dataclass(frozen=True)
class Mart:
    """A warehouse table, computed from tables by `sql/<pipeline>/<name>.sql`.

    A batch rebuilds the rows whose `refresh_by` columns have a value that it touched; the SELECT must group or
    partition by these columns. `refresh="full"` rebuilds all rows in each batch.
    """

    name: str
    refresh_by: str | Sequence[str] = ()
    refresh: RefreshMode = "touched"

    @property
    def refresh_columns(self) -> tuple[str, ...]:
        return (self.refresh_by,) if isinstance(self.refresh_by, str) else tuple(self.refresh_by)


@dataclass(frozen=True)
class History:
    """A slowly changing dimension of type 2: the history of each key in the table `of`, one row for each interval.

    `of` is a `Table` with write mode `append` whose contract has a key. The contract of the history says with the
    custom property `history` what each column is: `version` (a change begins a new row), `overwrite` (the newest value
    in all rows of a key), `surrogate_key`, `valid_from`, `valid_to` or `is_current`. A boolean column of `of` with
    `history: deleted` ends the interval of its key. There is no file in `sql/`: the SELECT is generated.
    """

    name: str
    of: str


@dataclass(frozen=True)
class View:
    """A view of the warehouse, `sql/<pipeline>/<name>.sql` over tables and views that stand before it.

    It has the columns of its contract alone, without those that say where a row came from.
    """

    name: str


@dataclass(frozen=True)
class CsvExport:
    """One CSV for each batch, with the rows that it wrote to the table `of`; by default only those that differ.

    `key` is its key in the pipeline's bucket. It must contain `{batch_id}` and may contain `{started_at}`, the time of
    the batch as YYYYMMDDTHHMMSSZ. A batch without such rows writes no file.
    """

    name: str
    of: str
    key: str
    only_changed: bool = True


@dataclass(frozen=True)
class LakeTable:
    """Parquet files in the lake, a folder per value of the contract's partition column.

    Their rows come from `sql/<pipeline>/<name>.sql`; their keys start with `prefix` (by default the table's name) in
    the pipeline's bucket. File names start with `file_prefix`, by default the pipeline's name. A SELECT over landed
    files keeps each record's rows in one file; one over a table copies its rows, one file for each partition.
    """

    name: str
    prefix: str = ""
    file_prefix: str = ""


@dataclass(frozen=True)
class Plot:
    """A picture in the metadata of the table or view `of`, drawn by each batch that changes it.

    Its rows come from `sql/<pipeline>/plots/<name>.sql`, which reads `of`, and other tables if need be, ends with ORDER
    BY and LIMIT, and reads no personal column. Column names are the titles of the axes. `bar` and `barh` (horizontal)
    draw a label and a number, in the order of the rows; `line` a date, time or number, a number and, if there are
    several lines, the name of the line; `intervals` a label, a beginning and an end (NULL: not ended).
    """

    name: str
    of: str
    kind: PlotKind


@dataclass(frozen=True)
class Step:
    """A function of the `batch.context.BatchContext` that one pipeline runs in its batches.

    `extract` runs before discovery if the run was asked to extract, `arrive` before discovery in every run, `publish`
    before the transaction, when `BatchContext.outcomes` has the outcome of each object, and `promote` after the commit.
    A value for the next run goes to `BatchContext.set_watermark`, which is published with the batch. A step must be
    safe to repeat: the run after a killed one repeats it.
    """

    phase: Phase
    run: Callable[[Any], None]


@dataclass(frozen=True)
class Bucket:
    """A bucket that the deployment creates; watched prefixes and lake tables are derived from the rest of the value.

    `archive_after_days`: objects move to Glacier after that many days; of moved sources only those in `processed/`.
    `watched` are landing prefixes of sources that the value does not have yet.
    """

    name: str
    archive_after_days: int | None = None
    watched: Sequence[str] = ()


@dataclass(frozen=True)
class DeliveryStream:
    """A Firehose stream that delivers into `prefix` of the pipeline's bucket."""

    name: str
    prefix: str


@dataclass(frozen=True)
class Schedule:
    """Runs that extract and load some separate batches of a pipeline, by a cron expression in UTC."""

    name: str
    cron: str
    tables: tuple[str, ...]


@dataclass(frozen=True)
class DoctorCheck:
    """A check of `pipeline-assets doctor`. `attempt` returns what it found, and warnings; it raises if it fails."""

    name: str
    attempt: Callable[[], tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class SeparateBatch:
    """A part of a run with a transaction of its own: if it fails, the others are published all the same.

    `name` is that of a table of the pipeline. `prepare` returns the value to run, which has the pipeline's name and a
    part of its sources and tables. If there is nothing to do it returns the number of objects that are known. It runs
    outside the lock of the pipeline.
    """

    name: str
    prepare: Callable[[], Pipeline | int]


@dataclass(frozen=True, eq=False)
class Pipeline:
    """One pipeline. It writes to `bucket`, and its sources land there unless they name another.

    `folder` contains `contracts/` and `sql/`; by default `pipeline_assets/<name>/contracts` and `sql/<name>`.
    `contracts` (`contracts.Contract` by name) replace files; `learnt` gets the platform and returns those of open
    contracts that runs have completed. `batches` gets the platform, the run's id and its `batch.report.Request`, and
    splits the run. `check_source` gets the settings and raises ConfigurationError if they are wrong for an extract;
    `run --extract` calls it before it starts a run. `configured` gets the settings, or None, and returns the value of
    an installation, if that depends on them; the rest of this value is what holds without them. `database_table` gets
    the settings and the name of a source with a database, and returns the server and the table as OpenLineage names
    them: `mysql://host:3306`, `shop.orders`. `doctor` gets the platform and yields checks of what this pipeline alone
    depends on. `watermarks` gets a transaction of the warehouse and returns, for each table with a batch of its own,
    how far its source has been extracted; empty if not at all.
    """

    name: str
    bucket: str
    sources: Sequence[LandedFiles | ListColumn] = ()
    tables: Sequence[Table | Mart | History | View] = ()
    exports: Sequence[CsvExport] = ()
    lake_tables: Sequence[LakeTable] = ()
    plots: Sequence[Plot] = ()
    steps: Sequence[Step] = ()
    buckets: Sequence[Bucket] = ()
    streams: Sequence[DeliveryStream] = ()
    description: str = ""
    folder: Path | None = None
    contracts: Mapping[str, Any] = field(default_factory=dict)
    batches: Callable[[Any, str, Any], Iterable[SeparateBatch]] | None = None
    learnt: Callable[[Any], Mapping[str, Any]] | None = None
    check_source: Callable[[Any], object] | None = None
    schedules: Sequence[Schedule] = ()
    configured: Callable[[Any], Pipeline] | None = None
    database_table: Callable[[Any, str], tuple[str, str]] | None = None
    doctor: Callable[[Any], Iterable[DoctorCheck]] | None = None
    watermarks: Callable[[Any], Mapping[str, str]] | None = None
