"""Small pipelines for tests: contracts and SELECTs from short texts, in a temporary folder, and a home to run them in.

A column is `NAME type` with marks behind it: `key`, `required`, `personal`, `partition`, `together` (kept in one lake
file), `history:<role>` and `-> dataset.COLUMN` for a relationship. `items={"LIST": [columns]}` gives a JSON record its
list.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml

from pipeline_assets.contracts import Contract
from pipeline_assets.contracts.odcs import contract_of
from pipeline_assets.pipeline import Pipeline
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets.pipeline.resolved import ResolvedPipeline
from pipeline_assets_tests.support.pipeline_lake import PipelineLake, prepared_homes

START = datetime(2026, 1, 1, tzinfo=UTC)
_TYPES = {
    "text": ("string", "VARCHAR(64)", "STRING"),
    "number": ("number", "NUMBER(18,4)", "DOUBLE"),
    "double": ("number", "FLOAT", "DOUBLE"),
    "decimal": ("number", "NUMBER(18,4)", "DECIMAL(18,4)"),
    "integer": ("integer", "NUMBER(18,0)", "BIGINT"),
    "date": ("date", "DATE", "DATE"),
    "boolean": ("boolean", "BOOLEAN", "BOOLEAN"),
    "timestamp": ("timestamp", "TIMESTAMP_NTZ(6)", ""),
}
_numbers = itertools.count(1)


def later(hours: float) -> datetime:
    """A time of delivery."""
    return START + timedelta(hours=hours)


def pipeline_of(
    folder: Path,
    contracts: Mapping[str, tuple[Any, ...]],
    sql: Mapping[str, str],
    *,
    name: str = "shop",
    bucket: str = "shop-bucket",
    **value: Any,
) -> Pipeline:
    """Write contracts (name to (form, columns, further entries)) and SELECTs; returns the value that reads them."""
    for kind in ("contracts", "sql/plots"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for contract, (form, columns, *more) in contracts.items():
        document = odcs(contract, name, form, columns, **(more[0] if more else {}))
        (folder / "contracts" / f"{contract}.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    for table, select in sql.items():
        (folder / "sql" / f"{table}.sql").write_text(f"-- Grain: one row.\n{select}\n", encoding="utf-8")
    return Pipeline(name, bucket, folder=folder, **value)


def contract(name: str, *columns: str, form: str = "table", domain: str = "shop", is_open: bool = False) -> Contract:
    """A contract for `Pipeline.contracts`."""
    return replace(contract_of(name, odcs(name, domain, form, columns)), is_open=is_open)


def odcs(
    name: str,
    domain: str,
    form: str,
    columns: Sequence[str],
    items: Mapping[str, Sequence[str]] | None = None,
    table: str | None = None,
) -> dict[str, Any]:
    """A contract as its document."""
    properties = [_property(form, text) for text in columns]
    for entry, elements in (items or {}).items():
        inner = {"logicalType": "object", "properties": [_property(form, text) for text in elements]}
        properties.append({"name": entry, "logicalType": "array", "items": inner})
    dataset = {"name": name, "physicalName": table or name.upper(), "physicalType": form, "properties": properties}
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": f"{domain}-{name}",
        "name": name,
        "version": "1.0.0",
        "status": "active",
        "domain": domain,
        "schema": [dataset],
    }


def _property(form: str, text: str) -> dict[str, Any]:
    column, _, to = text.partition("->")
    name, kind, *marks = column.split()
    logical, warehouse, in_lake = _TYPES[kind]
    made: dict[str, Any] = {"name": name, "logicalType": logical}
    made["physicalType"] = in_lake if form == "parquet" else warehouse
    if "key" in marks:
        made |= {"primaryKey": True, "required": True}
    if "required" in marks:
        made["required"] = True
    if "personal" in marks:
        made["classification"] = "personal"
    if "partition" in marks:
        made["partitioned"] = True
    if "together" in marks:
        made["customProperties"] = [{"property": "keepTogether", "value": True}]
    if role := next((mark.removeprefix("history:") for mark in marks if mark.startswith("history:")), None):
        made["customProperties"] = [{"property": "history", "value": role}]
    if to:
        made["relationships"] = [{"type": "foreignKey", "to": to.strip()}]
    return made


class SmallLake(PipelineLake):
    """One home with a small pipeline; see `lake_of`."""

    landing = "shop-bucket/in"

    def csv(self, name: str, *records: Mapping[str, Any], at: float | None = None) -> Path:
        """Land records as a CSV; `at` is the time of delivery in hours."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return self.write(f"{name}.csv", text.getvalue(), None if at is None else later(at))

    def json(self, name: str, *records: Mapping[str, Any], at: float | None = None) -> Path:
        """Land records as JSON lines."""
        return self.write(f"{name}.json", "\n".join(map(json.dumps, records)), None if at is None else later(at))

    def cells(self) -> dict[str, list[tuple[str, ...]]]:
        """Every table in the warehouse, business columns only, as sorted text."""
        found = {}
        for contract in type(self).pipeline().targets:
            rows = self.rows(f"SELECT {', '.join(contract.column_names)} FROM {contract.domain}.{contract.table}")
            found[contract.name] = sorted(tuple(map(str, row)) for row in rows)
        return found


def lake_of(value: Pipeline | ResolvedPipeline, kind: type[SmallLake] = SmallLake) -> type[SmallLake]:
    """The home of a pipeline as a type, so that its empty tables are made once; `with_tables` makes one."""
    pipeline = resolve(value) if isinstance(value, Pipeline) else value
    zone = f"{pipeline.sources[0].zone.bucket}/{pipeline.sources[0].zone.prefix}" if pipeline.sources else kind.landing
    name = f"Small{next(_numbers)}"
    return type(name, (kind,), {"pipeline": staticmethod(lambda: pipeline), "landing": zone, "tables_sql": {}})


def temporary() -> Path:
    """A folder for a pipeline that several tests share; it goes with the process."""
    return Path(mkdtemp(dir=prepared_homes()))
