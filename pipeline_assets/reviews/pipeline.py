"""Tables of a MySQL database, loaded by the list in PIPELINE_REVIEWS_TABLES: a source, a table and a batch for each."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline import Bucket, Pipeline, Schedule, kind_of_source

if TYPE_CHECKING:
    from pipeline_assets.reviews.metadata import TableList
    from pipeline_assets.settings import Settings

_EXAMPLE = Path(__file__).resolve().parent / "tables.yaml"


def reviews(settings: Settings | None) -> Pipeline:
    """The pipeline of the tables that the settings list; without a list, of the shipped example.

    Raises:
        ConfigurationError: the list is wrong.
    """
    path = settings.reviews_tables if settings else None
    url = settings.reviews_source_url if settings else None
    return _pipeline(path or _EXAMPLE, kind_of_source(url))


@cache
def _pipeline(path: Path, database: str) -> Pipeline:
    """The value for a list of tables; `database` is the kind of the source."""
    from pipeline_assets.reviews.batches import check_source, database_table, table_batches
    from pipeline_assets.reviews.doctor import table_checks
    from pipeline_assets.reviews.learnt import learnt_contracts, watermarks
    from pipeline_assets.reviews.metadata import load_table_list
    from pipeline_assets.reviews.tables import open_contract, parts_of

    listed, folder = load_table_list(path), path.parent / "contracts"
    _refuse_equal_names(listed)
    parts = [parts_of(listed, t, open_contract(listed, t, folder), database=database) for t in listed.tables]
    crons = dict.fromkeys(table.schedule for table in listed.tables if table.schedule)
    schedules = []
    for number, cron in enumerate(crons, 1):
        tables = tuple(listed.names[t.name].dataset for t in listed.tables if t.schedule == cron)
        schedules.append(Schedule(tables[0] if len(tables) == 1 else f"tables_{number}", cron, tables))
    return Pipeline(
        REVIEWS.name,
        REVIEWS.bucket,
        sources=[each.source for each in parts],
        tables=[table for each in parts for table in each.tables],
        contracts={contract.name: contract for each in parts for contract in each.contracts},
        buckets=REVIEWS.buckets,
        batches=partial(table_batches, listed, folder),
        learnt=partial(learnt_contracts, listed, folder),
        check_source=partial(check_source, listed),
        database_table=partial(database_table, listed),
        schedules=schedules,
        doctor=partial(table_checks, listed, folder),
        watermarks=partial(watermarks, listed),
        description=f"Extract the listed tables of {listed.source}, and load what landed of them, each by itself.",
    )


def _refuse_equal_names(listed: TableList) -> None:
    """Refuse tables whose names differ in case alone: names of targets are in upper case."""
    names = [table.name for table in listed.tables]
    if equal := [name for name in names if sum(name.upper() == other.upper() for other in names) > 1]:
        raise ConfigurationError(
            f"The targets of {' and '.join(equal)} would be one table: its name is in upper case.",
            remedy="List a view of the source with another name instead of one of them.",
        )


REVIEWS = Pipeline(
    "reviews",
    bucket="lz-snowflake",
    buckets=[Bucket("lz-snowflake", watched=["Snowflake/"])],
    configured=reviews,
)
