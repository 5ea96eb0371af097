"""Names of datasets after OpenLineage's naming specification: a namespace, which is a system, and a name in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.orchestration.keys import database_key, source_key, table_key

if TYPE_CHECKING:
    from pipeline_assets.pipeline.resolved import FileTable, MartTable, ResolvedPipeline, Source, ViewTable
    from pipeline_assets.settings import Settings


@dataclass(frozen=True, order=True)
class DatasetName:
    """`namespace` is a system such as `s3://bucket`, `name` is unique in it."""

    namespace: str
    name: str


def dataset_names(pipeline: ResolvedPipeline, settings: Settings) -> dict[str, DatasetName]:
    """The name of every dataset of a pipeline by the key of its asset, `<pipeline>/<name>`.

    Files whose keys differ from run to run are one dataset: the pattern of landed files, or the key with `*`.
    """
    return {key: DatasetName(*name) for key, name in _names(pipeline, settings)}


def _names(pipeline: ResolvedPipeline, settings: Settings) -> Iterator[tuple[str, tuple[str, str]]]:
    warehouse = _warehouse(settings)
    for source in pipeline.sources:
        bucket, key = _objects(settings, source.zone.bucket, source.declared.pattern)
        listed = f"#{source.list_column.column}" if source.list_column else ""
        yield source_key(source, pipeline.name).to_user_string(), (bucket, key + listed)
        if source.declared.database:
            yield database_key(source, pipeline.name).to_user_string(), _database_table(pipeline, source, settings)
    published: list[FileTable | MartTable | ViewTable] = [*pipeline.tables, *pipeline.marts, *pipeline.views]
    for table in published:
        name = f"{settings.database}.{table.qualified}"
        yield table_key(pipeline, table.contract).to_user_string(), (warehouse, name)
    for lake_table in pipeline.lake_tables:
        folder = _objects(settings, lake_table.bucket, lake_table.prefix.rstrip("/"))
        yield table_key(pipeline, lake_table.contract).to_user_string(), folder
    for export in pipeline.exports:
        key = re.sub(r"\{[^}]*\}", "*", export.declared.key)
        yield f"{pipeline.name}/{export.declared.name}", _objects(settings, pipeline.bucket, key)


def _database_table(pipeline: ResolvedPipeline, source: Source, settings: Settings) -> tuple[str, str]:
    if pipeline.value.database_table:
        try:
            return pipeline.value.database_table(settings, source.name)
        except ConfigurationError:  # the run fails with it, and its events are sent all the same
            pass
    return source.declared.database, source.name


def _objects(settings: Settings, bucket: str, key: str) -> tuple[str, str]:
    if settings.profile == "local":
        return "file", f"{settings.lake_root / bucket}/{key}"
    return f"s3://{settings.bucket_prefix}{bucket}", key


def _warehouse(settings: Settings) -> str:
    """The namespace of tables; the specification has none for DuckDB, so it is built like that of other systems."""
    if settings.profile == "local":
        return f"duckdb://{settings.warehouse_root / settings.database}.db"
    return f"snowflake://{settings.snowflake_account}"
