"""Where landed files have the value of each column of a source, as sentences for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline_assets.contracts import Column
from pipeline_assets.pipeline.resolved import ResolvedPipeline, Source


def origins_of_fields(pipeline: ResolvedPipeline, source: Source, code: Callable[[str], str] = str) -> dict[str, str]:
    """A sentence for each column, those of the list in a record included; `code` marks the names in it."""
    contract = source.contract
    if listed := source.list_column:
        record = pipeline.record_of(source).contract.column_names
        return {
            name: f"Field {code(name)} of "
            + ("the record." if name in record else f"the elements of {code(listed.column)}.")
            for name in contract.column_names
        }
    origins = {column.name: _field(source, column, number, code) for number, column in enumerate(contract.columns, 1)}
    if items := contract.items:
        of_list = f"${_json_path(items.path)}[*]"
        origins |= {column.name: f"At {code(of_list + _json_path(column.path))}." for column in items.columns}
    return origins


def _field(source: Source, column: Column, number: int, code: Callable[[str], str]) -> str:
    if source.contract.form == "json":
        return f"At {code('$' + _json_path(column.path))}."
    if source.declared.archive:
        return f"Field {code(column.name)} of the files in the archive."
    if not source.contract.dialect.header:
        return f"Field {number} of the record, which has no header."
    forms = {"Parquet" if p.lower().endswith(".parquet") else "CSV" for p in source.declared.pattern.split("|")}
    return f"Field {code(column.name)} of the {' or '.join(sorted(forms))}, in any case and order."


def _json_path(keys: Sequence[str]) -> str:
    return "".join(f".{key}" if key.isidentifier() else f'["{key}"]' for key in keys)
