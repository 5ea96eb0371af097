"""`status` and `doctor`: what is loaded, and whether the installation works."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline_assets.commands.shared import open_platform, prepared_settings, registered_pipelines
from pipeline_assets.console import print_check_results, print_table
from pipeline_assets.errors import PipelineError

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import ResolvedPipeline
    from pipeline_assets.warehouse import Transaction


def status() -> None:
    """Show what each pipeline has loaded, rejected and quarantined, and the tables that are extracted one by one."""
    from pipeline_assets.warehouse import ledger
    from pipeline_assets.warehouse.quarantine import waiting_totals
    from pipeline_assets.warehouse.schema import ops_tables

    platform = open_platform(prepared_settings())
    platform.warehouse.prepare(ops_tables())
    with platform.warehouse.read_only() as transaction:
        totals = {row[0]: row for row in ledger.totals(transaction, list(registered_pipelines()))}
        waiting = waiting_totals(transaction)
        dated = [name for name, pipeline in registered_pipelines().items() if pipeline.has_dated_keys]
        latencies = ledger.last_latencies(transaction, dated)
        tables = [
            row for pipeline in registered_pipelines().values() for row in _extracted_tables(transaction, pipeline)
        ]
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
    rows = [totals.get(name, (name, 0, 0, 0, 0, 0, 0, "never")) for name in registered_pipelines()]
    print_table([*columns, "WAITING"], [(*row, waiting.get(row[0], 0)) for row in rows])
    for name, (median, longest) in latencies.items():
        print(
            f"{name}: the objects that arrived last took {median:,.0f} s (median) and at most {longest:,.0f} s "
            "from delivery to commit."
        )
    if tables:
        print_table(["TABLE", "ROWS", "LAST LOAD", "EXTRACTED UP TO"], tables)


def _extracted_tables(transaction: Transaction, pipeline: ResolvedPipeline) -> Iterator[tuple[str, int, object, str]]:
    """Name, rows, time of the last load, and watermark of each table with a batch of its own."""
    from pipeline_assets.contracts.ddl import target_table
    from pipeline_assets.warehouse.migration import table_exists

    marks = pipeline.value.watermarks(transaction) if pipeline.value.watermarks else {}
    for contract in pipeline.targets:
        if contract.name in marks:
            target, rows, loaded_at = target_table(contract), 0, None
            if table_exists(transaction, target):
                ((rows, loaded_at),) = transaction.rows(f"SELECT COUNT(*), MAX(_LOADED_AT) FROM {target.qualified}")
            yield target.qualified, rows, loaded_at or "never", marks[contract.name] or "never"


def doctor() -> None:
    """Print every setting (secrets masked) and check what the pipelines need."""
    from pipeline_assets.doctor.run import run_doctor
    from pipeline_assets.settings import describe, load_settings, with_secret

    settings = load_settings(secret=False)
    with contextlib.suppress(PipelineError):  # a check reports why the secret cannot be read
        settings = with_secret(settings)
    for name, value, description in describe(settings):
        print(f"{name}={value}\n    {description}")
    raise SystemExit(1 if print_check_results(run_doctor(settings, list(registered_pipelines().values()))) else 0)
