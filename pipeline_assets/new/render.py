"""The contents of a pipeline's files, rendered from its proposed shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline_assets.contracts import Column
from pipeline_assets.new.propose import ListProposal, Proposal, Shape
from pipeline_assets.new.sample import Sample

_API_VERSION = "v3.1.0"
_MAPPING = "tag:yaml.org,2002:map"


class _Line(dict[str, Any]):
    """A mapping that is written on one line of YAML."""


def bucket_of(pipeline: str) -> str:
    return f"{pipeline.replace('_', '-')}-source"


def list_table(pipeline: str, items: ListProposal) -> str:
    """The name of the table that holds the elements of a list."""
    return f"{pipeline}_{items.name.lower()}"


def landed_name(pipeline: str, sample: Sample) -> str:
    """The name of the contract of the files; only that of CSV with commas is the contract of the table, too."""
    return pipeline if sample.delimiter == "," else f"{pipeline}_landed"


def value_module(pipeline: str, sample: Sample, shape: Shape) -> str:
    """`pipeline.py` with the pipeline's value."""
    pattern = "|".join(f"incoming/**/*{suffix}" for suffix in sample.suffixes)
    name, upper = pipeline, pipeline.upper()
    append = "" if shape.key else ', write="append"'
    tables = [f'Table("{name}"{append}),'] + ([f'Table("{list_table(name, shape.items)}"),'] if shape.items else [])
    listed = "\n        ".join(tables)
    return f'''"""{_title(sample)} files that land in {bucket_of(name)}, as tables of the schema {upper}."""

from pipeline_assets.pipeline import LandedFiles, Pipeline, Table

{upper} = Pipeline(
    "{name}",
    bucket="{bucket_of(name)}",
    sources=[
        LandedFiles("{landed_name(name, sample)}", "{pattern}"),
    ],
    tables=[
        {listed}
    ],
)
'''


def _title(sample: Sample) -> str:
    return "Parquet" if sample.form == "parquet" else sample.form.upper()


def package_module(pipeline: str, sample: Sample) -> str:
    """`__init__.py` with a docstring."""
    return f'"""Landed {_title(sample)} files to the {pipeline.upper()} tables."""\n'


def contracts(pipeline: str, sample: Sample, shape: Shape) -> dict[str, str]:
    """The contracts by name, as YAML."""
    form, landed = "json" if sample.form == "json" else "table", landed_name(pipeline, sample)
    grain = f"One row per {', '.join(shape.key)}, the newest version delivered." if shape.key else "One row per record."
    properties = _properties(shape.columns, form)
    if shape.items:
        properties.append(
            {
                "name": shape.items.name,
                "physicalName": shape.items.key,
                "logicalType": "array",
                "description": f"The list {shape.items.key} of a record; may be empty or missing.",
                "items": {"logicalType": "object", "properties": _properties(shape.items.columns, form)},
            }
        )
    purpose = f"Records as they are delivered; proposed from {sample.path.name}."
    documents = {pipeline: _document(pipeline, pipeline, form, purpose, grain, properties)}
    if landed != pipeline:
        dialect = [_Line(property="dialect", value=_Line(delimiter=sample.delimiter))]
        documents[landed] = _document(pipeline, landed, "csv", purpose, grain, properties, dialect)
    if shape.items:
        name = list_table(pipeline, shape.items)
        key = [_property(p, "table", ()) for p in shape.columns if p.column.key]
        elements = [_property(p, "table", ()) for p in shape.items.columns]
        grain = f"One row per element of {shape.items.key}, by its place in the list."
        purpose = f"The elements of the list {shape.items.key} in each record of {pipeline}."
        documents[name] = _document(pipeline, name, "table", purpose, grain, [*key, _position(shape), *elements])
    return documents


def selects(pipeline: str, sample: Sample, shape: Shape) -> dict[str, str]:
    """The SELECTs by name."""
    grain = f"{', '.join(shape.key)}, the newest version of each" if shape.key else "landed record"
    relation = landed_name(pipeline, sample).upper()
    statements = {pipeline: _select(f"one row per {grain}.", relation, [p.name for p in shape.columns])}
    if shape.items:
        name = list_table(pipeline, shape.items)
        columns = [*shape.key, f"_POSITION AS {position_name(shape)}", *(p.name for p in shape.items.columns)]
        statements[name] = _select(f"one row per element of the list {shape.items.key}.", name.upper(), columns)
    return statements


def position_name(shape: Shape) -> str:
    """The name of the column with the position of an element in its list, from 1."""
    assert shape.items is not None
    taken = {*shape.key, *(p.name for p in shape.items.columns)}
    return "LINE_NUMBER" if "LINE_NUMBER" not in taken else f"{shape.items.name}_POSITION"


def _select(grain: str, relation: str, columns: Sequence[str]) -> str:
    listed = ",\n    ".join(f"{relation}.{column}" for column in columns)
    return f"-- Grain: {grain}\nSELECT\n    {listed}\nFROM {relation}\n"


def _document(
    pipeline: str,
    name: str,
    form: str,
    purpose: str,
    grain: str,
    properties: list[dict[str, Any]],
    custom: Sequence[dict[str, Any]] = (),
) -> str:
    import yaml

    document = {
        "apiVersion": _API_VERSION,
        "kind": "DataContract",
        "id": f"{pipeline}-{name}".replace("_", "-"),
        "name": name,
        "version": "1.0.0",
        "status": "active",
        "domain": pipeline,
        "description": {"purpose": purpose},
        "team": {"name": "data-engineering"},
        "schema": [
            {
                "name": name,
                "physicalName": name.upper(),
                "physicalType": form,
                "dataGranularityDescription": grain,
                "properties": properties,
                **({"customProperties": list(custom)} if custom else {}),
            }
        ],
    }

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

    Dumper.add_representer(
        _Line, lambda dumper, line: dumper.represent_mapping(_MAPPING, line.items(), flow_style=True)
    )
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=116)


def _properties(proposals: Sequence[Proposal], form: str, depth: int = 0) -> list[dict[str, Any]]:
    """The properties of a record; columns whose values are in a JSON object are properties of that object."""
    properties: list[dict[str, Any]] = []
    objects: dict[str, list[Proposal]] = {}
    for proposal in proposals:
        path = proposal.column.path[depth:]
        if len(path) < 2:
            properties.append(_property(proposal, form, path))
            continue
        if path[0] not in objects:
            name = path[0].upper().replace("-", "_")
            objects[path[0]] = []
            properties.append({"name": name, "physicalName": path[0], "logicalType": "object", "properties": path[0]})
        objects[path[0]].append(proposal)
    for entry in properties:
        if entry["logicalType"] == "object":
            entry["properties"] = _properties(objects[entry["properties"]], form, depth + 1)
    return properties


def _property(proposal: Proposal, form: str, path: Sequence[str]) -> dict[str, Any]:
    column = proposal.column
    properties: dict[str, Any] = {"name": column.name}
    if form == "json":
        properties["physicalName"] = path[0]
    properties |= {"logicalType": column.logical_type, "physicalType": column.physical_type}
    if column.max_length:
        properties["logicalTypeOptions"] = _Line(maxLength=column.max_length)
    if column.key:
        properties["primaryKey"] = True
    if column.required:
        properties["required"] = True
    if column.personal:
        properties["classification"] = "personal"
    properties["description"] = _description(column)
    custom = [_Line(property="inputFormats", value=list(column.input_formats))] if column.input_formats else []
    custom += [_Line(property="blanks", value="keep")] if column.keep_blanks else []
    if custom and (form != "table" or not column.path):
        properties["customProperties"] = custom
    return properties


def _position(shape: Shape) -> dict[str, Any]:
    assert shape.items is not None
    return {
        "name": position_name(shape),
        "logicalType": "integer",
        "physicalType": "NUMBER(18,0)",
        "primaryKey": True,
        "required": True,
        "description": f"Place of the element in {shape.items.key}, from 1.",
    }


def _description(column: Column) -> str:
    return f"{'.'.join(column.path) or column.name.replace('_', ' ').capitalize()}, as delivered."
