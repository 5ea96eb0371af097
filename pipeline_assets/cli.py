"""The console script `pipeline-assets`.

Commands only call the other packages and print. Results go to stdout, everything else to stderr. Exit codes: 0
success, 1 the work failed, 2 the command or a setting is wrong. Heavy modules are imported in the commands that need
them, so that `--help` is quick.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import shlex
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pipeline_assets.console import (
    plain,
    print_check_results,
    print_run,
    print_sample_findings,
    print_table,
    say,
)
from pipeline_assets.errors import ConfigurationError, InterruptedRunError, PipelineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline_assets.batch.platform import Platform
    from pipeline_assets.batch.report import Request
    from pipeline_assets.engine.choice import Wanted
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.settings import Settings

app = typer.Typer(
    help="S3 to Snowflake pipelines as Dagster assets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
quarantine_app = typer.Typer(help="Records and objects set aside.", no_args_is_help=True)
app.add_typer(quarantine_app, name="quarantine")
deploy_app = typer.Typer(help="Create or change what the aws profile needs; repeatable.", no_args_is_help=True)
app.add_typer(deploy_app, name="deploy")


class Format(StrEnum):
    """Output formats of `query`."""

    table = "table"
    csv = "csv"
    json = "json"


class Form(StrEnum):
    """Formats of a sample file."""

    csv = "csv"
    json = "json"


class Engine(StrEnum):
    """Engines that read and join files."""

    auto = "auto"
    duckdb = "duckdb"
    spark = "spark"
    glue = "glue"


def main() -> None:
    """Run the command line. A `PipelineError` becomes one line and an exit code; other exceptions propagate."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(?!pipeline_assets)")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("snowflake").setLevel(logging.ERROR)  # it logs each attempt to connect
    try:
        app()
    except (KeyboardInterrupt, InterruptedRunError):
        say("Stopped. The state is intact; run again to finish.")
        raise SystemExit(130) from None
    except ConfigurationError as error:
        _fail(error, 2)
    except PipelineError as error:
        _fail(error, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(help="Which pipeline.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    extract: Annotated[bool, typer.Option("--extract", help="First extract new records from the source.")] = False,
    reprocess: Annotated[bool, typer.Option("--reprocess", help="Load known objects again.")] = False,
    engine: Annotated[Engine | None, typer.Option(help="Overrides PIPELINE_ENGINE.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log.")] = False,
) -> None:
    """Process everything that has landed, up to the marts, as one Dagster run."""
    _require_pipeline(pipeline)
    from pipeline_assets.batch.report import Request
    from pipeline_assets.batch.run import refuse_without_extraction

    if extract:
        refuse_without_extraction(_pipelines()[pipeline])
    settings = _settings()
    engine_name: Wanted | None = engine.value if engine else None
    _platform(settings).engine.pick(0, engine_name)  # fail early if the engine is not configured
    summary = _run(settings, pipeline, Request(reprocess=reprocess, engine=engine_name, extract=extract), verbose)
    if as_json:
        print(json.dumps(summary))
    else:
        print_run(summary)
    raise SystemExit(0 if summary["success"] else 1)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One statement of Snowflake SQL.")],
    form: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.table,
) -> None:
    """Run one statement on the active warehouse."""
    with _platform(_settings()).warehouse.autocommit() as session:
        columns, rows = session.described(sql)
    if form is Format.json:
        if len(set(columns)) < len(columns) or any(len(row) != len(columns) for row in rows):
            raise ConfigurationError("Two columns have one name, which JSON cannot hold.", remedy="Name them with AS.")
        objects = [dict(zip(columns, map(plain, row), strict=True)) for row in rows]
        print(json.dumps(objects, ensure_ascii=False, allow_nan=False))
    elif form is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([["" if v is None else plain(v) for v in row] for row in rows])
    else:
        print_table(columns, rows)


@app.command()
def status() -> None:
    """Show what each pipeline has loaded, rejected and quarantined."""
    from pipeline_assets.warehouse import ledger
    from pipeline_assets.warehouse.schema import ops_tables

    platform = _platform(_settings())
    platform.warehouse.prepare(ops_tables())
    with platform.warehouse.read_only() as transaction:
        totals = {row[0]: row for row in ledger.totals(transaction, list(_pipelines()))}
        waiting = dict(
            transaction.rows(
                "SELECT PIPELINE, COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL GROUP BY PIPELINE"
            )
        )
    columns = [
        "PIPELINE",
        "LOADED",
        "REJECTED",
        "ROWS READ",
        "ROWS LOADED",
        "SUPERSEDED",
        "QUARANTINED",
        "LAST LOAD",
    ]
    rows = [totals.get(name, (name, 0, 0, 0, 0, 0, 0, "never")) for name in _pipelines()]
    print_table([*columns, "WAITING"], [(*row, waiting.get(row[0], 0)) for row in rows])


@app.command()
def demo(
    scale: Annotated[float, typer.Option(help="Size of the samples; 1 is 4,000 bookings and 2,000 orders.")] = 1.0,
) -> None:
    """Generate sample sources and run every pipeline end to end; a second demo loads nothing again."""
    import time

    from rich.console import Console

    from pipeline_assets.batch.report import Request
    from pipeline_assets.samples import SOURCES

    console = Console(stderr=True)
    # The samples are dirty on purpose: a rejected file is listed at the end, and alerts.jsonl has its alert.
    logging.getLogger("pipeline_assets.alerts").setLevel(logging.CRITICAL)
    settings = _settings()
    started, summaries = time.monotonic(), []
    names = list(_pipelines())
    for number, pipeline in enumerate(names, 1):
        step, folder = f"[{number}/{len(names)}] {pipeline}", settings.lake_root / _landing_bucket(pipeline)
        if pipeline in SOURCES:
            with console.status(f"{step}: writing sample sources"):
                files = _write_samples(pipeline, folder, scale)
            console.print(f"{step}: {len(files)} sample files in {folder}", markup=False, soft_wrap=True)
        with console.status(f"{step}: running"):
            summaries.append(_run(settings, pipeline, Request(), verbose=False))
        print_run(summaries[-1], with_checks=False)
    _print_demo(settings, summaries, time.monotonic() - started)
    raise SystemExit(0 if all(summary["success"] for summary in summaries) else 1)


@app.command()
def dev(port: Annotated[int | None, typer.Option(help="Port on 127.0.0.1.")] = None) -> None:
    """Open Dagster's UI on the same home as the demo."""
    from pipeline_assets.orchestration.execution import prepare_dagster_home
    from pipeline_assets.settings import PROJECT_ROOT

    settings = _settings()
    prepare_dagster_home(settings.dagster_home)
    workspace = PROJECT_ROOT / "workspace.yaml"
    target = ["-w", str(workspace)] if workspace.exists() else ["-m", "pipeline_assets.definitions"]
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        *target,
        "-h",
        "127.0.0.1",
        "-p",
        str(port or settings.dagster_port),
    ]
    os.execv(sys.executable, command)


@app.command()
def samples(
    pipeline: Annotated[str, typer.Argument(help="The pipeline of the sources.")] = "bookings",
    scale: Annotated[float, typer.Option(help="Size; 1 is 4,000 bookings or 2,000 orders.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 2024,
    into: Annotated[Path | None, typer.Option(help="Folder instead of the lake's bucket.")] = None,
) -> None:
    """Write deterministic sample sources of any size, with bad records."""
    _require_pipeline(pipeline)
    for file in _write_samples(pipeline, into or _settings().lake_root / _landing_bucket(pipeline), scale, seed):
        print(f"{file.rows:>10,} records  {file.path}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the pipeline: small letters, digits and _.")],
    sample: Annotated[Path, typer.Option("--from", help="A file as it will be delivered, plain or .gz.")],
    key: Annotated[str, typer.Option(help="COLUMN[,COLUMN]: the key of a record; detected by default.")] = "",
    form: Annotated[Form | None, typer.Option(help="Format of the file; detected by default.")] = None,
) -> None:
    """Create a pipeline from a sample file: contract, SELECT, value and registration.

    Prints its proposal for each column with the reason. Writes pipeline_assets/NAME/ and sql/NAME/, and adds the
    pipeline to pipeline_assets/pipelines.py and infra/template.yaml; it overwrites nothing. Files for the pipeline land
    in the bucket NAME-source below incoming/, and `pipeline-assets run NAME` loads them into the table NAME.NAME.
    """
    from pipeline_assets.new.create import create
    from pipeline_assets.settings import PROJECT_ROOT, load_settings

    keys = [column.strip() for column in key.split(",")] if key else []
    settings = load_settings(secret=False)
    target = settings.lake_root / create(PROJECT_ROOT, name, sample, keys, form and form.value, say)
    print(
        f"""The pipeline {name} is registered. Next:
  mkdir -p {shlex.quote(str(target.parent))} && cp {shlex.quote(str(sample))} {shlex.quote(str(target))}
  pipeline-assets run {name}
  pipeline-assets query 'SELECT * FROM {name.upper()}.{name.upper()} LIMIT 10'
What to change in what was written: README.md, "Adding a pipeline"."""
    )


@app.command()
def doctor() -> None:
    """Print every setting (secrets masked) and check what the pipelines need."""
    from pipeline_assets.doctor.run import run_doctor
    from pipeline_assets.settings import describe, load_settings, with_secret

    settings = load_settings(secret=False)
    with contextlib.suppress(PipelineError):  # a check reports why the secret cannot be read
        settings = with_secret(settings)
    print_table(["SETTING", "VALUE", "WHAT IT DOES"], describe(settings))
    raise SystemExit(1 if print_check_results(run_doctor(settings, list(_pipelines().values()))) else 0)


@deploy_app.command("aws")
def deploy_aws(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would change.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the stack; buckets with objects stay.")] = False,
) -> None:
    """Deploy the stack in infra/: buckets, queues, topic, streams, Glue and roles. Prints the environment."""
    from pipeline_assets.deploy.aws.stack import deploy, remove
    from pipeline_assets.settings import load_settings

    if delete and dry_run:
        raise ConfigurationError("--delete and --dry-run exclude each other.", remedy="Leave one out.")
    settings = load_settings(secret=False)  # the secret belongs to the stack and may not exist
    if delete:
        remove(settings, say=print)
    else:
        deploy(settings, dry_run=dry_run, say=print)


@deploy_app.command("snowflake")
def deploy_snowflake(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; nothing is run.")] = False,
) -> None:
    """Deploy roles, warehouse, schemas, stages, pipes and masking policies: the files in sql/platform/."""
    from pipeline_assets.deploy.snowflake.apply import deploy
    from pipeline_assets.settings import load_settings

    deploy(load_settings(), list(_pipelines().values()), dry_run=dry_run, say=print)


@quarantine_app.command("list")
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


@quarantine_app.command("show")
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


@quarantine_app.command("export")
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
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None
    say(f"{len(rows)} records written to {path}.")


@quarantine_app.command("replay")
def quarantine_replay(
    pipeline: Annotated[str, typer.Argument(help="The pipeline of the records.")],
    ids: Annotated[list[str] | None, typer.Option("--id", help="Only this record; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Validate quarantined records and rejected objects again and load those that now pass, once."""
    from pipeline_assets.batch.report import Request
    from pipeline_assets.warehouse.quarantine import unknown_ids

    _require_pipeline(pipeline)
    if ids:
        with _quarantine_transaction() as transaction:
            if unknown := unknown_ids(transaction, pipeline, ids):
                raise ConfigurationError(f"Nothing waits as {', '.join(unknown)}.", remedy="See `quarantine list`.")
    summary = _run(_settings(), pipeline, Request(replay=True, replay_ids=tuple(ids) if ids else None), verbose=False)
    if as_json:
        print(json.dumps(summary))
    else:
        print_run(summary)
        if summary["success"]:
            print(f"  {summary['released']} records were released from quarantine and loaded")
    raise SystemExit(0 if summary["success"] else 1)


def _require_pipeline(pipeline: str) -> None:
    if pipeline not in _pipelines():
        raise ConfigurationError(f"There is no pipeline {pipeline!r}.", remedy=f"Known: {', '.join(_pipelines())}.")


def _pipelines() -> dict[str, ResolvedPipeline]:
    from pipeline_assets.pipelines import pipelines

    return pipelines()


def _landing_bucket(pipeline: str) -> str:
    """The bucket that a pipeline's files land in."""
    return _pipelines()[pipeline].sources[0].zone.bucket


def _settings() -> Settings:
    from pipeline_assets.settings import load_settings, prepare_home

    settings = load_settings()
    prepare_home(settings)
    return settings


def _platform(settings: Settings) -> Platform:
    from pipeline_assets.batch.platform import build_platform

    return build_platform(settings)


def _run(settings: Settings, pipeline: str, request: Request, verbose: bool) -> dict[str, Any]:
    from pipeline_assets.definitions import build_definitions
    from pipeline_assets.orchestration.execution import run_pipeline

    return run_pipeline(build_definitions(settings), settings.dagster_home, pipeline, request, verbose=verbose)


def _write_samples(pipeline: str, directory: Path, scale: float, seed: int = 2024) -> list:
    from pipeline_assets.samples import write_samples

    try:
        directory.mkdir(parents=True, exist_ok=True)
        return write_samples(pipeline, directory.absolute(), scale=scale, seed=seed)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be written: {error.strerror}.") from None


def _quarantine_transaction():
    from pipeline_assets.warehouse.schema import ops_tables

    platform = _platform(_settings())
    platform.warehouse.prepare(ops_tables())
    return platform.warehouse.read_only()


def _quarantined(columns: Sequence[str], pipeline: str | None, everything: bool, limit: int | None) -> list[tuple]:
    if pipeline:
        _require_pipeline(pipeline)
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


def _print_demo(settings: Settings, summaries: Sequence[dict[str, Any]], seconds: float) -> None:
    with _platform(settings).warehouse.read_only() as transaction:
        tables = transaction.rows(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM INFORMATION_SCHEMA.TABLES "
            "WHERE TABLE_SCHEMA NOT IN ('OPS', 'INFORMATION_SCHEMA') ORDER BY TABLE_SCHEMA, TABLE_NAME"
        )
        names = [f"{schema}.{name}" for schema, name in tables]
        names += [
            name for (name,) in transaction.rows("SELECT DISTINCT TABLE_NAME FROM OPS.LAKE_PARTITIONS ORDER BY 1")
        ]
        counts = [(name, transaction.scalar(f"SELECT COUNT(*) FROM {name}")) for name in names]
        waiting = transaction.scalar("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL")
    checks = [check for summary in summaries for check in summary["checks"]]
    marts = [pipeline.marts[-1] for pipeline in _pipelines().values() if pipeline.marts]
    examples = "\n".join(
        f"  .venv/bin/pipeline-assets query 'SELECT * FROM {mart.qualified} "
        f"ORDER BY {mart.contract.column_names[-1]} DESC LIMIT 10'"
        for mart in marts
    )
    print()
    print_table(["TABLE", "ROWS"], counts)
    print(
        f"\n{sum(summary['success'] for summary in summaries)} of {len(summaries)} pipelines succeeded "
        f"in {seconds:.0f} s. {waiting} records wait in quarantine."
    )
    print_sample_findings(checks)
    print(
        f"""
Every bad record is in quarantine with its reason, every good one in a table.
Where to look next:
  make dev                                              the lineage, the runs and the checks, on http://127.0.0.1:{settings.dagster_port}
  .venv/bin/pipeline-assets quarantine list             what was set aside, and why
{examples}
  {settings.lake_root}        the files that landed and the files that came out"""
    )


def _fail(error: PipelineError, code: int) -> NoReturn:
    say(f"error: {error}")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
