"""`quarantine`: list, show, export, replay, discard and purge quarantined records and rejected objects."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_assets.commands.shared import (
    open_platform,
    prepared_settings,
    registered_pipelines,
    require_pipeline,
    run_now,
)
from pipeline_assets.console import csv_line, plain, print_run, print_run_json, print_table, say
from pipeline_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline_assets.batch.platform import Platform
    from pipeline_assets.warehouse import Warehouse
    from pipeline_assets.warehouse.transaction import Transaction

_SHORTEST_START = 4  # characters of an id, as Git has it; a single one is mistyped easily

app = typer.Typer(help="List, show, export, replay, discard and purge quarantined records.", no_args_is_help=True)


@app.command("list")
def quarantine_list(
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows.")] = 100,
    everything: Annotated[bool, typer.Option("--all", help="Also closed ones.")] = False,
) -> None:
    """List quarantined records and objects, without their content, which may be personal data."""
    columns, rows = _quarantined(pipeline, closed=everything, limit=limit)
    shown = [n for n, name in enumerate(columns) if name != "RAW_RECORD" and (everything or name != "STATE")]
    print_table([columns[n] for n in shown], [tuple(row[n] for n in shown) for row in rows])
    if len(rows) == limit:
        say(f"Only the first {limit}; --limit shows more.")


@app.command("show")
def quarantine_show(
    key: Annotated[str, typer.Argument(metavar="ID", help="From `quarantine list`; its first characters are enough.")],
) -> None:
    """Show one record completely, as it was in its source."""
    from pipeline_assets.warehouse.quarantine import quarantined_record

    with _platform().warehouse.read_only() as transaction:
        record = quarantined_record(transaction, _whole_id(transaction, key))
    for name, value in record.items():
        print(f"{name:<20} {'' if value is None else plain(value)}")


@app.command("export")
def quarantine_export(
    path: Annotated[Path, typer.Argument(help="CSV file to write.")],
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline.")] = None,
) -> None:
    """Write the waiting records, with their content, to a CSV file."""
    if path == Path("-"):
        raise ConfigurationError("The records are written to a file, not to stdout.", remedy="Name a file.")
    if pipeline is None and str(path) in registered_pipelines():
        raise ConfigurationError(
            f"{path} is a pipeline, and no file is named.", remedy=f"Type `quarantine export FILE {path}`."
        )
    columns, rows = _quarantined(pipeline, closed=False, limit=None)
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.writelines(csv_line(values[:-1]) + "\n" for values in (columns, *rows))  # without STATE
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None
    say(f"{_records(len(rows))} written to {path}.")


@app.command("replay")
def quarantine_replay(
    pipeline: Annotated[str, typer.Argument(help="The pipeline of the records.")],
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", help="Only this record (the start of its id is enough); may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Validate quarantined records and rejected objects again and load those that now pass, once."""
    from pipeline_assets.batch.report import Request

    require_pipeline(pipeline)
    if ids:
        ids = _waiting_ids(_platform().warehouse, pipeline, ids)
    request = Request(replay=True, replay_ids=tuple(ids) if ids else None)
    summary = run_now(prepared_settings(), pipeline, request, verbose=False, command="quarantine replay")
    if as_json:
        print_run_json(summary)
    else:
        print_run(summary)
    raise SystemExit(0 if summary["success"] else 1)


@app.command("discard")
def quarantine_discard(
    pipeline: Annotated[str, typer.Argument(help="The pipeline of the records.")],
    reason: Annotated[str, typer.Option(help="Why nobody will correct them; it is stored with them.")],
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="This record (the start of its id is enough); may be repeated.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All waiting ones of the pipeline.")] = False,
) -> None:
    """Close records and rejected objects that nobody will correct: no replay loads them, no check counts them."""
    from pipeline_assets.warehouse.quarantine import discard_records

    require_pipeline(pipeline)
    if everything == bool(ids):
        given = "given twice, by --id and by --all" if ids else "not given"
        raise ConfigurationError(f"The records to discard are {given}.", remedy="Give --id (once or more) or --all.")
    if not reason.strip():
        raise ConfigurationError("The reason is empty.", remedy="Say in --reason why nobody will correct them.")
    platform = _platform()
    if ids:
        ids = _waiting_ids(platform.warehouse, pipeline, ids)
    with platform.warehouse.transaction() as transaction:
        count = discard_records(transaction, pipeline, ids, reason.strip(), platform.clock())
    say(f"Discarded {_records(count)} of {pipeline}.")


@app.command("purge")
def quarantine_purge(
    older_than: Annotated[str, typer.Option("--older-than", help="Only those closed this many days ago or more: 90d.")],
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline.")] = None,
) -> None:
    """Delete records that were replayed, replaced or discarded long ago. Waiting ones are kept."""
    from pipeline_assets.warehouse.quarantine import purge_closed_records

    if pipeline:
        require_pipeline(pipeline)
    if not (days := re.fullmatch(r"(\d{1,5})d?", older_than)):
        raise ConfigurationError(f"{older_than!r} is not a number of days.", remedy="Write it as 90d.")
    platform = _platform()
    with platform.warehouse.transaction() as transaction:
        count = purge_closed_records(transaction, pipeline, platform.clock() - timedelta(days=int(days[1])))
    say(f"Deleted {_records(count, 'closed record')}.")


def _platform() -> Platform:
    from pipeline_assets.warehouse.schema import ops_tables

    platform = open_platform(prepared_settings())
    platform.warehouse.prepare(ops_tables())
    return platform


def _waiting_ids(warehouse: Warehouse, pipeline: str, starts: Sequence[str]) -> list[str]:
    from pipeline_assets.warehouse.quarantine import unknown_ids

    with warehouse.read_only() as transaction:
        ids = list(dict.fromkeys(_whole_id(transaction, start) for start in starts))
        if unknown := unknown_ids(transaction, pipeline, ids):
            raise ConfigurationError(
                f"No waiting record of {pipeline} has the id {', '.join(unknown)}.", remedy="See `quarantine list`."
            )
    return ids


def _whole_id(transaction: Transaction, start: str) -> str:
    from pipeline_assets.warehouse.quarantine import ids_that_start_with

    match ids_that_start_with(transaction, start) if len(start) >= _SHORTEST_START else []:
        case [found]:
            return found
        case []:
            raise ConfigurationError(f"No quarantined record has the id {start!r}.", remedy="See `quarantine list`.")
    raise ConfigurationError(f"The ids of several quarantined records start with {start!r}.", remedy="Give more of it.")


def _records(count: int, kind: str = "record") -> str:
    return f"{count} {kind}" if count == 1 else f"{count} {kind}s"


def _quarantined(pipeline: str | None, *, closed: bool, limit: int | None) -> tuple[list[str], list[tuple]]:
    from pipeline_assets.warehouse.quarantine import quarantined

    if pipeline:
        require_pipeline(pipeline)
    with _platform().warehouse.read_only() as transaction:
        return quarantined(transaction, pipeline, closed=closed, limit=limit)
