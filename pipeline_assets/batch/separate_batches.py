"""A run that is split into separate batches, each with a transaction of its own: none stops the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pipeline_assets.batch.platform import Platform
from pipeline_assets.batch.report import BatchReport, Request
from pipeline_assets.batch.run import required_tables, run_batch
from pipeline_assets.errors import (
    ConfigurationError,
    FailedTablesError,
    PermanentLakeError,
    PipelineError,
    TransientFailedTablesError,
    one_line,
)
from pipeline_assets.pipeline import Pipeline
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets.pipeline.resolved import ResolvedPipeline

logger = logging.getLogger("pipeline_assets")


@dataclass(frozen=True)
class FinishedBatch:
    """A separate batch that did not fail: what ran and its report, or neither if there was nothing to do.

    `known` is then the number of objects that were loaded before.
    """

    name: str
    pipeline: ResolvedPipeline | None = None
    report: BatchReport | None = None
    known: int = 0


def run_separate_batches(
    platform: Platform, pipeline: ResolvedPipeline, run_id: str, request: Request
) -> Iterator[FinishedBatch]:
    """Run the separate batches of a pipeline, those of `Request.tables` if it names some, one after another.

    Yields each batch when it is published. After one that fails the others run all the same; an interrupt ends the run.

    Raises:
        ConfigurationError: `Request.tables` names a table that the pipeline lacks, or each failure is one that only a
            person can clear.
        FailedTablesError: batches failed; its message has a line for each.
    """
    split = pipeline.value.batches
    assert split is not None
    require_tables(pipeline, request.tables)
    platform.engine.pick(0, request.engine)  # fail early if the engine is not configured
    platform.warehouse.prepare(required_tables(pipeline))
    requested = {table for name in request.tables for table in pipeline.tables_of_batch(name)}
    recovered: dict[str, list[str]] = {}
    failures: dict[str, Exception] = {}
    for batch in split(platform, run_id, request):
        if requested and requested.isdisjoint(pipeline.tables_of_batch(batch.name)):
            continue
        try:
            value = batch.prepare()
            resolved = derive(value) if isinstance(value, Pipeline) else None
            report = run_batch(platform, resolved, run_id, replace(request, extract=False)) if resolved else None
        except Exception as error:  # also that of a driver or library is only this batch's
            if _is_interrupt(error):
                raise
            is_ours = isinstance(error, PipelineError)
            logger.error("%s failed: %s", batch.name, _message(error), exc_info=None if is_ours else error)
            failures[batch.name] = error
            continue
        if report:
            report.name = batch.name
            recovered |= report.recovered  # the first batch of a run recovers those of all tables
            report.recovered = dict(recovered)
        yield FinishedBatch(batch.name, resolved, report, value if isinstance(value, int) else 0)
    if failures:
        raise _combined(failures) from next(iter(failures.values()))


def require_tables(pipeline: ResolvedPipeline, tables: tuple[str, ...]) -> None:
    """Refuse tables that a pipeline lacks, and any for a pipeline whose tables are published together.

    Raises:
        ConfigurationError: it lists the names.
    """
    if tables and pipeline.value.batches is None:
        raise ConfigurationError(
            f"The tables of {pipeline.name} are published together.", remedy="Leave --table out: a run loads them all."
        )
    known = [table.name for table in pipeline.value.tables]
    if unknown := [name for name in tables if name not in known]:
        raise ConfigurationError(
            f"{pipeline.name} has no table {', '.join(map(repr, unknown))}.",
            remedy=f"Its tables are {', '.join(known)}.",
        )


def _combined(failures: Mapping[str, Exception]) -> PipelineError:
    """One error for all: worth a retry if one of them is, permanent if all are."""
    message = "\n".join(f"{name}: {_message(error)}" for name, error in failures.items())
    if any(isinstance(error, PipelineError) and error.transient for error in failures.values()):
        return TransientFailedTablesError(message)
    if all(isinstance(error, (ConfigurationError, PermanentLakeError)) for error in failures.values()):
        return ConfigurationError(message)
    return FailedTablesError(message)


def _message(error: Exception) -> str:
    """The message of an error of ours; any other may repeat values, so only its class is named."""
    if isinstance(error, PipelineError):
        return one_line(error)
    return f"{type(error).__qualname__}; the log of the run shows where."


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C or SIGTERM ended a query of DuckDB, which reports it as an error of its own."""
    while error:
        if "Query interrupted" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
