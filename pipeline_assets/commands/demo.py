"""`demo` and `samples`: sample sources, and every pipeline run over them."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline_assets.commands.shared import (
    open_platform,
    prepared_settings,
    registered_pipelines,
    require_pipeline,
    run_now,
)
from pipeline_assets.console import print_run, print_sample_findings, print_table
from pipeline_assets.contracts.names import sql_name
from pipeline_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from pipeline_assets.settings import Settings
    from pipeline_assets.warehouse import Transaction


def demo(
    scale: Annotated[float, typer.Option(help="Size of the samples; 1 is 4,000 bookings and 2,000 orders.")] = 1.0,
) -> None:
    """Generate sample sources and run every pipeline end to end; a second demo loads nothing again."""
    import time

    from rich.console import Console

    from pipeline_assets.batch.report import Request
    from pipeline_assets.samples import SOURCES

    console = Console(stderr=True)
    settings = prepared_settings()
    if settings.profile != "local":
        raise ConfigurationError(
            f"The demo writes samples to a local lake; the profile is {settings.profile}.",
            remedy="Run it with PIPELINE_PROFILE=local.",
        )
    started, summaries = time.monotonic(), []
    samples: dict[str, set[str]] = {}  # the landed ones; extracted samples get their keys in the run
    names = list(registered_pipelines())
    for number, pipeline in enumerate(names, 1):
        step, folder = f"[{number}/{len(names)}] {pipeline}", _sample_folder(settings, pipeline)
        if pipeline in SOURCES:
            with console.status(f"{step}: writing sample sources"):
                files = _write_samples(pipeline, folder, scale)
            if not SOURCES[pipeline].extracted:
                bucket = registered_pipelines()[pipeline].sources[0].zone.bucket
                samples[pipeline] = {open_platform(settings).lake.uri(bucket, file.key) for file in files}
            console.print(f"{step}: {len(files)} sample files in {folder}", markup=False, soft_wrap=True)
        with console.status(f"{step}: running"):
            request = Request(extract=pipeline in SOURCES and SOURCES[pipeline].extracted)
            with _alerts_not_printed():
                summaries.append(run_now(settings, pipeline, request, verbose=False, command="demo"))
        print_run(summaries[-1], with_checks=False)
    _print_demo(settings, summaries, samples, time.monotonic() - started)
    raise SystemExit(0 if all(summary["success"] for summary in summaries) else 1)


@contextmanager
def _alerts_not_printed() -> Iterator[None]:
    """The samples are dirty on purpose: a rejected file is listed at the end, and alerts.jsonl has its alert."""
    alerts = logging.getLogger("pipeline_assets.alerts")
    level = alerts.level
    alerts.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        alerts.setLevel(level)


def samples(
    pipeline: Annotated[str, typer.Argument(help="The pipeline of the sources.")] = "bookings",
    scale: Annotated[
        float,
        typer.Option(
            help="Size; 1 is 4,000 bookings, 2,000 movies, 5,000 reviews, 2,000 orders or, for commerce, 15,000."
        ),
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 2024,
    into: Annotated[Path | None, typer.Option(help="Folder instead of the pipeline's own.")] = None,
) -> None:
    """Write deterministic sample sources of any size, with bad records."""
    require_pipeline(pipeline)
    for file in _write_samples(pipeline, into or _sample_folder(prepared_settings(), pipeline), scale, seed):
        print(f"{file.rows:>10,} records  {file.path}")


def _write_samples(pipeline: str, directory: Path, scale: float, seed: int = 2024) -> list:
    from pipeline_assets.samples import write_samples

    try:
        directory.mkdir(parents=True, exist_ok=True)
        return write_samples(pipeline, directory.absolute(), scale=scale, seed=seed)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be written: {error.strerror}.") from None


def _sample_folder(settings: Settings, pipeline: str) -> Path:
    """The folder of the samples: the bucket that a pipeline's files land in, or the source that it extracts from."""
    from pipeline_assets.samples import SOURCES

    if pipeline in SOURCES and SOURCES[pipeline].extracted:
        return settings.home / "sources" / pipeline
    return settings.lake_root / registered_pipelines()[pipeline].sources[0].zone.bucket


def _print_demo(
    settings: Settings,
    summaries: Sequence[dict[str, Any]],
    samples: Mapping[str, AbstractSet[str]],
    seconds: float,
) -> None:
    from pipeline_assets.warehouse.catalog import lake_tables
    from pipeline_assets.warehouse.quarantine import waiting_totals

    platform = open_platform(settings)
    others: dict[tuple[str, str], str | None] = {}
    with platform.warehouse.read_only() as transaction:
        tables = transaction.rows(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM INFORMATION_SCHEMA.TABLES "
            "WHERE TABLE_SCHEMA NOT IN ('OPS', 'INFORMATION_SCHEMA') ORDER BY TABLE_SCHEMA, TABLE_NAME"
        )
        names = [f"{schema}.{sql_name(name)}" for schema, name in tables]
        names += lake_tables(transaction)
        counts = [(name, transaction.scalar(f"SELECT COUNT(*) FROM {name}")) for name in names]
        waiting = sum(waiting_totals(transaction).values())
        for summary in summaries:
            if summary["pipeline"] in samples:
                landed = samples[summary["pipeline"]]
                others |= _findings_outside_samples(transaction, summary["pipeline"], summary["checks"], landed)
    checks = [check for summary in summaries for check in summary["checks"]]
    marts = [pipeline.marts[-1] for pipeline in registered_pipelines().values() if pipeline.marts]
    examples = "\n".join(
        f"  .venv/bin/pipeline-assets query 'SELECT * FROM {mart.qualified} "
        f"ORDER BY {sql_name(mart.contract.column_names[-1])} DESC LIMIT 10'"
        for mart in marts
    )
    print()
    print_table(["TABLE", "ROWS"], counts)
    print(
        f"\n{sum(summary['success'] for summary in summaries)} of {len(summaries)} pipelines succeeded "
        f"in {seconds:.0f} s. {waiting} records wait in quarantine."
    )
    print_sample_findings(checks, others)
    print(
        f"""
{_conclusion(summaries)}
Where to look next:
  make dev                                              the lineage, the runs and the checks, on http://127.0.0.1:{settings.dagster_port}
  .venv/bin/pipeline-assets catalog                     a site to search, with the lineage of every column
  .venv/bin/pipeline-assets quarantine list             quarantined records, with reasons
{examples}
  {settings.lake_root}        the files that landed and the files that came out"""
    )


def _conclusion(summaries: Sequence[dict[str, Any]]) -> str:
    """What holds for all records, as far as it does."""
    if failed := [summary["pipeline"] for summary in summaries if not summary["success"]]:
        return (
            f"{' and '.join(failed)} failed: nothing of that run was published, and its files wait where they landed."
        )
    if any(check["name"] == "row_accounting" and not check["passed"] for s in summaries for check in s["checks"]):
        return "Not every record is accounted for; the check row_accounting names the files."
    return (
        "Of each file that was not rejected whole, every bad record is in quarantine with its reason, "
        "every good one in a table."
    )


def _findings_outside_samples(
    transaction: Transaction, pipeline: str, checks: Sequence[dict[str, Any]], samples: AbstractSet[str]
) -> dict[tuple[str, str], str | None]:
    """The findings of failed checks about objects that are not samples: the descriptions, by asset and check.

    A rule of a contract does not say from which object a row is, so it counts as soon as there is such an object.
    """
    from pipeline_assets.contracts.ddl import target_table
    from pipeline_assets.warehouse.ledger import current_uris
    from pipeline_assets.warehouse.quarantine import waiting_objects

    if not current_uris(transaction, pipeline) - samples:
        return {}
    waiting = [row for row in waiting_objects(transaction, pipeline) if row[0] not in samples]
    tables = {f"{pipeline}/{c.name}": target_table(c).qualified for c in registered_pipelines()[pipeline].targets}
    found: dict[tuple[str, str], str | None] = {}
    for check in checks:
        asset, name, description = check["asset"], check["name"], check["description"]
        if check["passed"] or name == "lateness":
            continue
        if name == "rejected_objects":
            description = ", ".join(f"{uri}: {code}" for uri, code, records in waiting if not records)
        elif name == "quarantine":
            description = ", ".join(f"{uri}: {records} {code}" for uri, code, records in waiting if records)
        elif name == "unknown_columns":
            rows = transaction.rows(f"SELECT DISTINCT _SOURCE_URI FROM {tables[asset]} WHERE _RESCUED IS NOT NULL")
            description = ", ".join(sorted({uri for (uri,) in rows} - samples))
        if description or name not in ("rejected_objects", "quarantine", "unknown_columns"):
            found[asset, name] = description
    return found
