"""The batches of a run: one for each listed table, with a contract and a transaction of its own.

What a batch needs is prepared outside the lock of the pipeline: rows are extracted, and the columns of new objects are
learnt and compared. The batch then loads what was prepared and nothing else; what lands meanwhile waits for the next
run.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.batch.discover import arrivals
from pipeline_assets.batch.exclusive_run import exclusive_run
from pipeline_assets.batch.recover import new_batch_id
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.contracts.model import Dialect
from pipeline_assets.errors import ConfigurationError, RejectedObjectError
from pipeline_assets.lake import LandedObject, Zone
from pipeline_assets.lake.foreign import rejection
from pipeline_assets.pipeline import Examined, Pipeline, SeparateBatch, Step
from pipeline_assets.pipeline.resolve import split_pattern
from pipeline_assets.reviews.connect import open_source, parsed_url, usable_url
from pipeline_assets.reviews.extract import Extracted, extract_table, land_extract
from pipeline_assets.reviews.landed import BUCKET, ExaminedObject, examine_objects, prefix_of, unfinished_extracts
from pipeline_assets.reviews.metadata import ListedTable, TableList
from pipeline_assets.reviews.reconcile import Comparison, compare, is_due
from pipeline_assets.reviews.schema import Shape, learn, require_columns
from pipeline_assets.reviews.source import Source
from pipeline_assets.reviews.tables import (
    NAME,
    dataset_of,
    declared_contract,
    learnt_contract,
    open_contract,
    parts_of,
    published_rows,
)
from pipeline_assets.reviews.watermark import TableState, advanced, read_state, write_state
from pipeline_assets.warehouse import ledger
from pipeline_assets.warehouse.migration import table_exists

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from pipeline_assets.batch.context import BatchContext
    from pipeline_assets.batch.platform import Platform
    from pipeline_assets.batch.report import Request
    from pipeline_assets.contracts import Contract
    from pipeline_assets.settings import Settings

logger = logging.getLogger("pipeline_assets")
SAMPLE = "reviews.db"


def table_batches(
    listed: TableList, contracts: Path, platform: Platform, run_id: str, request: Request
) -> Iterator[SeparateBatch]:
    """A batch for each table; `contracts` is the folder of contract files."""
    for table in listed.tables:
        preparation = _Preparation(listed, table, contracts, platform, request)
        yield SeparateBatch(listed.names[table.name].dataset, partial(_prepare, preparation))


@dataclass(frozen=True)
class _Preparation:
    """What the preparation of a table's batch works with."""

    listed: TableList
    table: ListedTable
    contracts: Path
    platform: Platform
    request: Request


@dataclass(frozen=True)
class _Decision:
    """What a batch does with an object: it is loaded or, for the error, rejected."""

    examined: ExaminedObject
    error: RejectedObjectError | None


def _prepare(preparation: _Preparation) -> Pipeline | int:
    """The value that loads what has landed of a table or, if that is nothing, how many objects are known."""
    listed, table, platform = preparation.listed, preparation.table, preparation.platform
    declared = declared_contract(listed, table, preparation.contracts)
    name = f"{NAME}-{listed.names[table.name].dataset}"
    # One at a time, so that none deletes the unfinished files of another.
    with exclusive_run(platform, name, BUCKET), _emptied(platform.scratch / name) as folder:
        state, replaced = _state(preparation)
        compared = None
        if preparation.request.extract and not table.event:
            compared = _extract(preparation, state, declared, folder)
        found, known = _arrivals(preparation)
        readable = [landed for landed in found if not rejection(landed)]
        dialect = declared.dialect if declared else Dialect()
        examined = examine_objects(platform.lake, listed.source, table, readable, folder, dialect)
    if not (examined or compared) and len(readable) == len(found):
        return known
    decisions, shape = _decide(preparation, state.shape, examined, learns=declared is None)
    contract = declared
    if declared is None and shape.columns:
        require_columns(table, shape)
        contract = learnt_contract(listed, table, shape)
    return _value(preparation, contract, decisions, replaced, compared, learns=declared is None)


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """An empty folder that is deleted at the end of the block; a killed run has left what is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _state(preparation: _Preparation) -> tuple[TableState, str | None]:
    """The committed state of a table; an empty one and the text of that state if the target was dropped or renamed."""
    table = preparation.table
    contract = open_contract(preparation.listed, table, preparation.contracts)
    with preparation.platform.warehouse.read_only() as transaction:
        text = ledger.watermark(transaction, NAME, table.name)
        return (read_state(text), None) if table_exists(transaction, target_table(contract)) else (TableState(), text)


def _extract(
    preparation: _Preparation, state: TableState, declared: Contract | None, folder: Path
) -> Comparison | None:
    """Land what is new in the source since the watermark, or all; before it, if that is due, what differs in keys.

    Nothing lands if there are no such rows. What a killed extract has left is deleted: no other one of this table is
    under way. Returns the comparison of the keys, or None.
    """
    listed, table, platform = preparation.listed, preparation.table, preparation.platform
    settings = platform.settings
    if settings is None:
        raise ConfigurationError("This platform has no settings.", remedy="Build it with `build_platform`.")
    url = _require_source(settings)
    platform.lake.delete(unfinished_extracts(platform.lake, listed.source, table))
    compared = None
    with open_source(url) as source:
        if is_due(table, state, source.times().utc, settings.reviews_reconcile_hours):
            compared = _compare(preparation, source, state, declared, settings, folder)
        extracted = extract_table(
            source,
            table,
            state.watermark,
            folder,
            new_batch_id(),
            source_name=listed.source,
            lag_seconds=settings.reviews_lag_seconds,
        )
    if table.strategy == "full_refresh":
        compared = _emptied_source(table, state, is_empty=extracted is None)
    if compared and compared.refusal:
        logger.warning("%s", compared.refusal)
    if extracted is None:
        logger.info("%s has no new rows.", table.name)
    elif extracted.manifest.files[0].sha256 == state.digest:  # a table without cursor, or what the lag reads again
        logger.info("%s has the rows of its last extract; nothing landed.", table.name)
    else:
        _land(preparation, extracted)
    return compared


def _emptied_source(table: ListedTable, state: TableState, *, is_empty: bool) -> Comparison | None:
    """The refusal to empty a table of `full_refresh`, or the end of an earlier refusal; None if there is none."""
    if is_empty and state.rows:
        refusal = (
            f"The source of {table.name} is empty: the {state.rows:,} rows of its last extract are kept. "
            "Check the source; if they were deleted there, delete them in the target as well."
        )
        return Comparison("", refused=state.rows, refusal=refusal)
    return Comparison("") if state.refused and not is_empty else None


def _compare(
    preparation: _Preparation,
    source: Source,
    state: TableState,
    declared: Contract | None,
    settings: Settings,
    folder: Path,
) -> Comparison:
    """Compare the keys of a table with those of its source, and land what differs."""
    listed, table, warehouse = preparation.listed, preparation.table, preparation.platform.warehouse
    contract = declared or learnt_contract(listed, table, state.shape)
    published = published_rows(listed, table, contract)
    # `deletes: soft` may be new.
    warehouse.prepare([target_table(parts_of(listed, table, contract).contracts[-1])])
    with _emptied(folder / "compared") as scratch:
        compared = compare(
            source,
            table,
            published,
            warehouse,
            state.watermark,
            scratch,
            new_batch_id(),
            source_name=listed.source,
            lag_seconds=settings.reviews_lag_seconds,
            delete_share=settings.reviews_delete_share,
        )
        if compared.extracted:
            _land(preparation, compared.extracted)
    return compared


def _land(preparation: _Preparation, extracted: Extracted) -> None:
    prefix = prefix_of(preparation.listed.source, preparation.table)
    uri, *_ = land_extract(preparation.platform.lake, BUCKET, prefix, extracted)
    logger.info("%s rows of %s landed in %s.", f"{extracted.manifest.rows:,}", preparation.table.name, uri)


def check_source(listed: TableList, settings: Settings) -> None:
    """Raises ConfigurationError if a listed table is extracted and the source is wrong; no server is asked."""
    if not all(table.event for table in listed.tables):
        _require_source(settings)


def _require_source(settings: Settings) -> URL:
    """The database that tables are extracted from."""
    if url := source_url(settings):
        return usable_url(url)
    raise ConfigurationError(
        "No source of the listed tables is configured.",
        remedy="Set PIPELINE_REVIEWS_SOURCE_URL, or run `pipeline-assets samples reviews`.",
    )


def source_url(settings: Settings) -> str | URL | None:
    """The database that the settings name; without one, the sample database if there is one."""
    if settings.reviews_source_url:
        return settings.reviews_source_url
    sample = settings.reviews_folder / SAMPLE
    if settings.profile != "local" or not sample.is_file():
        return None
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(sample))


def database_table(listed: TableList, settings: Settings, source: str) -> tuple[str, str]:
    """The server and the table of a source, as OpenLineage names them: without user and password.

    Raises:
        ConfigurationError: the URL of the source is wrong.
    """
    database = parsed_url(source_url(settings) or "sqlite://")
    (table,) = (table.name for table in listed.tables if dataset_of(listed, table) == source)
    if database.get_backend_name() == "sqlite":
        return f"sqlite://{database.database or ''}", table
    return f"mysql://{database.host or 'localhost'}:{database.port or 3306}", f"{database.database}.{table}"


def _arrivals(preparation: _Preparation) -> tuple[Sequence[LandedObject], int]:
    """The new objects of a table, and the number of known ones."""
    listed, table = preparation.listed, preparation.table
    source = parts_of(listed, table, open_contract(listed, table, preparation.contracts)).source
    zones = {source.name: Zone(BUCKET, *split_pattern(source.pattern))}
    arrived = arrivals(preparation.platform, NAME, zones, preparation.request)
    return arrived.new[source.name], arrived.known


def _decide(
    preparation: _Preparation, shape: Shape, examined: Sequence[ExaminedObject], *, learns: bool
) -> tuple[dict[tuple[str, str, int], _Decision], Shape]:
    """What happens to each object, by identity, and the columns of the table after those that are accepted."""
    target = target_table(open_contract(preparation.listed, preparation.table, preparation.contracts)).qualified
    decisions = {}
    for each in examined:
        error = each.error
        if error is None and learns and each.columns.columns:
            try:
                shape = learn(shape, each.columns, preparation.table, target)
            except RejectedObjectError as drift:
                error = drift
        decisions[each.landed.identity] = _Decision(each, error)
    return decisions, shape


def _value(
    preparation: _Preparation,
    contract: Contract | None,
    decisions: Mapping[tuple[str, str, int], _Decision],
    replaced: str | None,
    compared: Comparison | None,
    *,
    learns: bool,
) -> Pipeline:
    """The pipeline for one batch of a table; without a contract it has no table, and rejects its objects."""
    listed, table = preparation.listed, preparation.table
    made = contract or open_contract(listed, table, preparation.contracts)
    parts = parts_of(listed, table, made, partial(_examine, decisions))
    publish = partial(
        _set_state, preparation, [each.examined for each in decisions.values()], replaced, compared, learns
    )
    return Pipeline(
        NAME,
        BUCKET,
        sources=[parts.source],
        tables=parts.tables if contract else (),
        contracts={each.name: each for each in parts.contracts},
        steps=[Step("publish", publish)],
    )


def _examine(
    decisions: Mapping[tuple[str, str, int], _Decision], context: BatchContext, objects: Sequence[LandedObject]
) -> Examined:
    """The decisions about the objects that are still new; those that landed since then wait."""
    accepted, rejected = [], []
    for landed in objects:
        if decision := decisions.get(landed.identity):
            # The time of a file of others may have been raised to that of the version that it replaces.
            version = decision.examined.landed if decision.examined.manifest else landed
            if decision.error:
                rejected.append((version, decision.error))
            else:
                accepted.append(version)
    return Examined(accepted, rejected)


def _set_state(
    preparation: _Preparation,
    examined: Sequence[ExaminedObject],
    replaced: str | None,
    compared: Comparison | None,
    learns: bool,
    context: BatchContext,
) -> None:
    """Publish the watermark and the columns after the objects that this batch has loaded, and report what was noted.

    A comparison of keys counts once all that it found is loaded. The state is read again, as another run may have
    published since it was prepared; `replaced` is that of a target that was dropped.
    """
    table = preparation.table
    text = context.watermark(table.name)
    before = read_state(None if text == replaced else text)
    loaded = {
        outcome.landed.identity
        for outcomes in context.outcomes.values()
        for outcome in outcomes
        if not (outcome.rejection or outcome.waiting)
    }
    state, target = before, target_table(context.pipeline.sources[0].contract).qualified
    taken = [each for each in examined if each.landed.identity in loaded]
    for each in taken:
        if learns and each.columns.columns:
            state = replace(state, shape=learn(state.shape, each.columns, table, target))
    files: dict[str, int] = Counter(each.manifest.extract_id for each in taken if each.manifest)
    manifests = {each.manifest.extract_id: each.manifest for each in taken if each.manifest}
    complete = [m for m in manifests.values() if files[m.extract_id] == len(m.files)]
    state = advanced(state, complete)
    context.notes.extend(f"{table.name}: {note}" for manifest in manifests.values() for note in manifest.notes)
    if compared:
        state = replace(state, refused=compared.refused)
        context.notes.extend([compared.refusal] if compared.refusal else [])
    if compared and (compared.extracted is None or compared.extracted.manifest in complete):
        state = replace(state, reconciled_at=max(state.reconciled_at, compared.at))
    if state != before:
        context.set_watermark(table.name, write_state(state))
