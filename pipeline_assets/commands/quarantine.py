"""`quarantine`: records and objects set aside; list, show, export and replay them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_assets.commands.shared import open_platform, prepared_settings, require_pipeline, run_now
from pipeline_assets.console import csv_line, plain, print_run, print_table, say
from pipeline_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(help="Records and objects set aside.", no_args_is_help=True)


@app.command("list")
def quarantine_list(
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rows.")] = 100,
    everything: Annotated[bool, typer.Option("--all", help="Also those that a replay has loaded.")] = False,
) -> None:
    """List quarantined records and objects, without their content, which may be personal data."""
    columns = ["QUARANTINE_ID", "PIPELINE", "DATASET", "SOURCE_URI", "LINE_NUMBER", "REASON_CODE", "REASON"]
    rows = _quarantined(columns, pipeline, everything, limit)
    print_table(columns, rows)
    if len(rows) == limit:
        say(f"Only the first {limit}; --limit shows more.")


@app.command("show")
def quarantine_show(quarantine_id: Annotated[str, typer.Argument(help="From `quarantine list`.")]) -> None:
    """Show one record completely, as it was in its source."""
    from pipeline_assets.warehouse.schema import ops_table

    columns = [name for name, *_ in ops_table("QUARANTINE").columns]
    with _quarantine_transaction() as transaction:
        rows = transaction.rows(
            f"SELECT {', '.join(columns)} FROM OPS.QUARANTINE WHERE QUARANTINE_ID = %s", (quarantine_id,)
        )
    if not rows:
        raise ConfigurationError(f"No quarantined record {quarantine_id!r}.", remedy="See `quarantine list`.")
    for name, value in zip(columns, rows[0], strict=True):
        print(f"{name:<20} {'' if value is None else plain(value)}")


@app.command("export")
def quarantine_export(
    path: Annotated[Path, typer.Argument(help="CSV file to write.")],
    pipeline: Annotated[str | None, typer.Argument(help="Only this pipeline.")] = None,
) -> None:
    """Write quarantined records with their content to a CSV file."""
    columns = [
        "QUARANTINE_ID",
        "PIPELINE",
        "DATASET",
        "SOURCE_URI",
        "LINE_NUMBER",
        "REASON_CODE",
        "REASON",
        "RAW_RECORD",
    ]
    rows = _quarantined(columns, pipeline, everything=False, limit=None)
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.writelines(csv_line(values) + "\n" for values in (columns, *rows))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None
    say(f"{len(rows)} records written to {path}.")


@app.command("replay")
def quarantine_replay(
    pipeline: Annotated[str, typer.Argument(help="The pipeline of the records.")],
    ids: Annotated[list[str] | None, typer.Option("--id", help="Only this record; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Validate quarantined records and rejected objects again and load those that now pass, once."""
    from pipeline_assets.batch.report import Request
    from pipeline_assets.warehouse.quarantine import unknown_ids

    require_pipeline(pipeline)
    if ids:
        with _quarantine_transaction() as transaction:
            if unknown := unknown_ids(transaction, pipeline, ids):
                raise ConfigurationError(f"Nothing waits as {', '.join(unknown)}.", remedy="See `quarantine list`.")
    summary = run_now(
        prepared_settings(), pipeline, Request(replay=True, replay_ids=tuple(ids) if ids else None), verbose=False
    )
    if as_json:
        print(json.dumps(summary))
    else:
        print_run(summary)
        if summary["success"]:
            print(f"  {summary['released']} records were released from quarantine and loaded")
    raise SystemExit(0 if summary["success"] else 1)


def _quarantine_transaction():
    from pipeline_assets.warehouse.schema import ops_tables

    platform = open_platform(prepared_settings())
    platform.warehouse.prepare(ops_tables())
    return platform.warehouse.read_only()


def _quarantined(columns: Sequence[str], pipeline: str | None, everything: bool, limit: int | None) -> list[tuple]:
    if pipeline:
        require_pipeline(pipeline)
    conditions = [] if everything else ["REPLAYED_AT IS NULL"]
    params = [pipeline] if pipeline else []
    if pipeline:
        conditions.append("PIPELINE = %s")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    with _quarantine_transaction() as transaction:
        return transaction.rows(
            f"SELECT {', '.join(columns)} FROM OPS.QUARANTINE{where} ORDER BY PIPELINE, SOURCE_URI, LINE_NUMBER"
            + (f" LIMIT {limit}" if limit else ""),
            params or None,
        )
