"""`run`: one batch of a pipeline as a Dagster run."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from datetime import date
from enum import StrEnum
from typing import Annotated

import typer

from pipeline_assets.commands.shared import (
    open_platform,
    prepared_settings,
    registered_pipelines,
    require_pipeline,
    run_now,
)
from pipeline_assets.console import print_run, print_run_json, say
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.progress import reporting


class Engine(StrEnum):
    """Engines that read and join files."""

    auto = "auto"
    duckdb = "duckdb"
    spark = "spark"
    glue = "glue"


def run(
    pipeline: Annotated[str, typer.Argument(help="The pipeline.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    extract: Annotated[bool, typer.Option("--extract", help="First extract new records from the source.")] = False,
    reprocess: Annotated[bool, typer.Option("--reprocess", help="Also process objects in the ledger.")] = False,
    day: Annotated[
        str | None, typer.Option(metavar="DAY[..DAY]", help="Only objects of these landing days, again if known.")
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option(help="Only this table of a pipeline that publishes each by itself; repeatable.")
    ] = None,
    engine: Annotated[Engine | None, typer.Option(help="Overrides PIPELINE_ENGINE.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log.")] = False,
) -> None:
    """Process everything that has landed, up to the marts, as one Dagster run."""
    require_pipeline(pipeline)
    from pipeline_assets.batch.report import Request
    from pipeline_assets.batch.run import refuse_without_extraction
    from pipeline_assets.batch.separate_batches import require_tables
    from pipeline_assets.engine.choice import Wanted

    tables = tuple(table or ())
    require_tables(registered_pipelines()[pipeline], tables)
    if extract:
        refuse_without_extraction(registered_pipelines()[pipeline])
        logging.getLogger("pipeline_assets").setLevel(logging.INFO)  # what the source delivers, at which rate
    days = None if day is None else _days(pipeline, day)
    settings = prepared_settings()
    if extract and (check_source := registered_pipelines()[pipeline].value.check_source):
        check_source(settings)
    engine_name = Wanted(engine.value) if engine else None
    open_platform(settings).engine.pick(0, engine_name)  # fail early if the engine is not configured
    request = Request(reprocess=reprocess, engine=engine_name, extract=extract, days=days, tables=tables)
    quiet = as_json or verbose  # Dagster's log has the same lines
    with nullcontext() if quiet else reporting(say):
        summary = run_now(settings, pipeline, request, verbose, command="run")
    if as_json:
        print_run_json(summary)
    else:
        print_run(summary)
    raise SystemExit(0 if summary["success"] else 1)


def _days(pipeline: str, text: str) -> tuple[str, str]:
    """The first and the last landing day of `2024-03-01` or `2024-03-01..2024-03-07`.

    Raises:
        ConfigurationError: these are no days, or the objects of the pipeline have none in their keys.
    """
    if not registered_pipelines()[pipeline].has_dated_keys:
        raise ConfigurationError(
            f"The keys of {pipeline} do not contain the landing day.",
            remedy="Use --reprocess, which takes all objects.",
        )
    first, dots, last = text.partition("..")
    try:
        days = date.fromisoformat(first), date.fromisoformat(last if dots else first)
    except ValueError:
        raise ConfigurationError(
            f"--day {text!r}: not a day.", remedy="Write --day 2024-03-01, or --day 2024-03-01..2024-03-07 for a range."
        ) from None
    if days[1] < days[0]:
        raise ConfigurationError(f"--day {text}: the range ends before it begins.", remedy="Swap the two days.")
    return days[0].isoformat(), days[1].isoformat()
