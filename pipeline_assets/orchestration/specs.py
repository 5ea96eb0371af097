"""What the asset graph shows of a pipeline: from source systems through zones to tables, marts, lake tables, exports.

Columns, owners, tags and descriptions come from the contracts; dependencies and column lineage from the SELECTs that
run. Each asset has the tag `layer`, by which the graph can be filtered. Runs write outputs only: sources and zones are
observed, and have no freshness policy, as others decide when something lands (see the check `lateness`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import dagster as dg

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.orchestration.columns import (
    Output,
    assets_of_relations,
    column_metadata,
    column_schema,
    same_columns,
)
from pipeline_assets.orchestration.keys import (
    bucket_key,
    database_key,
    processed_key,
    source_key,
    stream_key,
    table_key,
)
from pipeline_assets.orchestration.markdown import as_sql, code, plain, readable
from pipeline_assets.pipeline.landed_fields import origins_of_fields
from pipeline_assets.pipeline.resolved import (
    PROCESSED,
    Export,
    FileTable,
    LakeCopy,
    MartTable,
    ResolvedPipeline,
    Source,
    ViewTable,
)
from pipeline_assets.pipeline.value import DeliveryStream, ListColumn

Layer = Literal["source", "zone", "table", "mart", "view", "lake", "export"]
_LEARNT = "A run learns its columns; its newest materialization has them."
# The kinds of sources that are not databases.
_NO_DATABASE = {"api": "An HTTP API that runs extract from.", "file": "A file that runs extract from."}


def input_specs(pipeline: ResolvedPipeline) -> list[dg.AssetSpec]:
    """Source systems, landed files and processed zones, which no run materializes; each key once."""
    specs = [_system_spec(pipeline, source) for source in pipeline.landed_sources]
    specs += [source_spec(source, pipeline) for source in pipeline.sources]
    specs += [spec for source in pipeline.landed_sources if (spec := _processed_spec(pipeline, source))]
    return list({spec.key: spec for spec in specs}.values())


def output_specs(pipeline: ResolvedPipeline, freshness_hours: float) -> list[dg.AssetSpec]:
    """Tables, marts, views, lake tables and exports; each depends on what it is made from."""
    assets = assets_of_relations(pipeline)
    policy = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=freshness_hours))
    lake_outputs: list[FileTable | LakeCopy] = [*pipeline.lake_outputs, *pipeline.lake_copies]
    outputs: list[Output] = [*pipeline.tables, *pipeline.marts, *pipeline.views, *lake_outputs]
    specs = {output.contract.name: _output_spec(pipeline, output, assets) for output in outputs}
    listed = [*(declared.name for declared in pipeline.value.tables), *(o.contract.name for o in lake_outputs)]
    specs_in_order = [
        *(specs[name] for name in listed),
        *(_export_spec(pipeline, export) for export in pipeline.exports),
    ]
    return [spec.replace_attributes(skippable=True, freshness_policy=policy) for spec in specs_in_order]


def _spec(
    key: dg.AssetKey,
    layer: Layer,
    pipeline: str,
    contract: Contract,
    description: str,
    kinds: set[str],
    deps: list[dg.AssetKey],
    metadata: Mapping[str, object],
) -> dg.AssetSpec:
    personal = {"personal_data": "yes"} if any(column.personal for column in contract.columns) else {}
    learnt = f"\n\n{_LEARNT}" if contract.is_open else ""
    return dg.AssetSpec(
        key,
        deps=deps,
        group_name=pipeline,
        description=description + learnt,
        kinds=kinds,
        owners=[f"team:{contract.owner}"],
        tags={"layer": layer, **personal},
        metadata=metadata,
    )


# --- sources and zones ---------------------------------------------------------------------------------------


def _system_spec(pipeline: ResolvedPipeline, source: Source) -> dg.AssetSpec:
    """The system that the files of a source come from: what runs extract from, a stream, or the bucket itself."""
    contract, name, database = source.contract, pipeline.name, source.declared.database
    if stream := _stream_into(pipeline, source):
        kinds = {"firehose", "stream"}
        what = (
            f"The delivery stream {code(stream.name)}, which writes objects of many records into "
            f"{code(f'{pipeline.bucket}/{stream.prefix}')}. `pipeline-assets stream` delivers to it."
        )
    elif database:
        kinds = {database}
        what = _NO_DATABASE.get(database, "A table of a database that other systems write; runs extract from it.")
    else:
        landed = [other for other in pipeline.landed_sources if other.zone.bucket == source.zone.bucket]
        prefixes = ", ".join(dict.fromkeys(code(other.zone.prefix or "/") for other in landed))
        what = f"The bucket {code(source.zone.bucket)}. Other systems put files below {prefixes}."
        # Not the contract of one source: a bucket may have several, and has no columns.
        place = replace(contract, columns=(), is_open=False)
        return _spec(bucket_key(source, name), "source", name, place, what, {"s3", "bucket"}, [], {})
    key, description = _system_key(pipeline, source), f"{plain(contract.description)}\n\n{what}"
    columns = {} if contract.is_open else {"dagster/column_schema": column_schema(contract, unique_key=False)}
    return _spec(key, "source", name, contract, description, kinds, [], columns)


def _stream_into(pipeline: ResolvedPipeline, source: Source) -> DeliveryStream | None:
    """The delivery stream that writes the files of a source."""
    if source.zone.bucket != pipeline.bucket:
        return None
    return next((stream for stream in pipeline.value.streams if stream.prefix == source.zone.prefix), None)


def _system_key(pipeline: ResolvedPipeline, source: Source) -> dg.AssetKey:
    if stream := _stream_into(pipeline, source):
        return stream_key(stream, pipeline.name)
    return (database_key if source.declared.database else bucket_key)(source, pipeline.name)


def source_spec(source: Source, pipeline: ResolvedPipeline) -> dg.AssetSpec:
    """The landed files of a source; no run writes them, but the run that loads some observes them."""
    contract = source.contract
    patterns = source.declared.pattern.split("|")
    landing = " or ".join(code(f"{source.zone.bucket}/{pattern}") for pattern in patterns)
    # The contract of CSV may be that of a table, too.
    forms = {"parquet" if pattern.lower().endswith(".parquet") else "csv" for pattern in patterns}
    forms = {"json"} if contract.form == "json" else forms
    files = f"{' and '.join(form.upper() for form in sorted(forms))} files as they land, plain or packed: {landing}."
    system = _system_key(pipeline, source)
    if contract.items:
        contract = replace(contract, columns=(*contract.columns, *contract.items.columns))
    is_bucket = system == bucket_key(source, pipeline.name)  # which has no columns
    lineage = None if is_bucket else same_columns(contract.column_names, system)
    if listed := source.list_column:
        forms = {"list"}
        files = f"Elements of the lists in {code(listed.column)} of {code(listed.of)}."
        system = dg.AssetKey([pipeline.name, f"{listed.of}_files"])
        lineage = _list_lineage(pipeline, source, listed, system)
    elif source.declared.archive:
        forms = {"zip"}
        files = f"Zip archives as they land: {landing}. Each is accepted or rejected as a whole."
    metadata: dict[str, object] = {}
    if not contract.is_open:
        origins = origins_of_fields(pipeline, source, code)
        metadata["dagster/column_schema"] = column_schema(contract, unique_key=False, origins=origins)
        metadata |= {"dagster/column_lineage": lineage} if lineage else {}
    description = (
        f"{files} The observations list the newest files with what each run took of them.\n\n"
        f"Records: {plain(contract.grain)}"
    )
    key = source_key(source, pipeline.name)
    return _spec(key, "zone", pipeline.name, contract, description, {"s3", *forms}, [system], metadata)


def _list_lineage(
    pipeline: ResolvedPipeline, source: Source, listed: ListColumn, files: dg.AssetKey
) -> dg.TableColumnLineage:
    """Columns of an element come from the list, those that its record also has from the record."""
    record = pipeline.record_of(source).contract.column_names
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(asset_key=files, column_name=name if name in record else listed.column)]
            for name in source.contract.column_names
        }
    )


def _processed_spec(pipeline: ResolvedPipeline, source: Source) -> dg.AssetSpec | None:
    """The zone that landed objects, or members of archives, are in when their rows are committed."""
    contract, name, archive = source.contract, pipeline.name, source.declared.archive
    if archive:
        place = f"{archive.bucket}/{archive.prefix}<batch>/<archive>/"
        what = "The members of accepted archives"
    elif source.declared.moved:
        place = f"{source.zone.bucket}/{source.zone_prefix(PROCESSED)}<batch>/"
        what = "Objects of landing whose rows are committed"
    else:
        return None
    files = source_key(source, name)
    metadata: dict[str, object] = (
        {}
        if contract.is_open
        else {
            "dagster/column_schema": column_schema(contract, unique_key=False),
            "dagster/column_lineage": same_columns(contract.column_names, files),
        }
    )
    description = f"{what}, a folder for each batch: {code(place)}. `run --reprocess` reads them again."
    return _spec(processed_key(source, name), "zone", name, contract, description, {"s3", "folder"}, [files], metadata)


# --- outputs -------------------------------------------------------------------------------------------------


def _output_spec(pipeline: ResolvedPipeline, output: Output, assets: Mapping[str, dg.AssetKey]) -> dg.AssetSpec:
    """A table of the warehouse or of the lake that a batch writes, or a view over such tables."""
    contract = output.contract
    metadata: dict[str, object] = {
        "dagster/table_name": target_table(contract).qualified,
        "contract": f"{contract.name} {contract.version}",
    }
    if not contract.is_open:
        metadata |= column_metadata(output, assets)
    return _spec(
        table_key(pipeline, contract),
        _layer(output),
        pipeline.name,
        contract,
        f"{plain(contract.description)}\n\nGrain: {plain(contract.grain)}\n\n{as_sql(readable(output.select.text))}",
        {"s3", "parquet"}
        if contract.form == "parquet"
        else {"snowflake", "view" if isinstance(output, ViewTable) else "table"},
        list(dict.fromkeys(assets[relation] for relation in output.select.relations)),
        metadata,
    )


def _layer(output: Output) -> Layer:
    if output.contract.form == "parquet":
        return "lake"
    return "view" if isinstance(output, ViewTable) else "mart" if isinstance(output, MartTable) else "table"


def _export_spec(pipeline: ResolvedPipeline, export: Export) -> dg.AssetSpec:
    """A CSV of a table's rows; a batch without such rows writes none."""
    contract, table = export.table.contract, table_key(pipeline, export.table.contract)
    which = "added or changed" if export.declared.only_changed else "wrote"
    description = (
        f"The rows of {code(export.table.qualified)} that a run {which}, as one CSV: "
        f"{code(f'{pipeline.bucket}/{export.declared.key}')}.\n\nGrain: {plain(contract.grain)}"
    )
    origins = {name: f"From {code(f'{table.path[-1]}.{name}')}." for name in contract.column_names}
    metadata = {
        "dagster/column_schema": column_schema(contract, origins=origins),
        "dagster/column_lineage": same_columns(contract.column_names, table),
    }
    key = dg.AssetKey([pipeline.name, export.declared.name])
    return _spec(key, "export", pipeline.name, contract, description, {"s3", "csv"}, [table], metadata)
