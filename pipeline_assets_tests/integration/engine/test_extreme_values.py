"""No value that a contract lets through can fail a batch: the extremes of every column of every registered pipeline.

Each record has one extreme value, or all of them; the batch succeeds on each engine, marts included, and both engines
publish the same tables.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.pipeline.resolved import ResolvedPipeline, Source
from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support.movies_lake import CREATED, manifest, zipped
from pipeline_assets_tests.support.pipeline_lake import PipelineLake

DAYS = ("0001-01-01", "9999-12-31")


def extremes(column: Column) -> list[str]:
    if column.accepted or column.pattern:
        return list(column.accepted or column.examples)
    match column.logical_type:
        case "number" | "integer":
            precision, scale = column.precision_and_scale
            most = "9" * (precision - scale) + f".{'9' * scale}" * (scale > 0)
            return [most, f"-{most}", "0", "1e-3" if scale > 2 else "1e2", f"{10 ** (precision - scale - 4)}"]
        case "date":
            return list(DAYS)
        case "boolean":
            return ["true", "false"]
        case _:
            longest = column.max_length or 100
            return ["x" * longest, "🦆" * longest, "=1+1"]


def records(contract: Contract, fixed: dict[str, str]) -> Iterator[dict[str, str]]:
    """A usual record, one for each extreme of each column, and one with the largest of all; keys are numbered."""
    usual = {
        c.name: {"number": "1", "integer": "1", "date": DAYS[0]}.get(c.logical_type, "x") for c in contract.columns
    }
    usual |= {c.name: extremes(c)[0] for c in contract.columns if c.accepted or c.pattern} | fixed
    changes = [{c.name: value} for c in contract.columns if not c.reference for value in extremes(c)]
    largest = {c.name: extremes(c)[0] for c in contract.columns if not c.reference and not c.key}
    for number, change in enumerate([{}, *changes, largest]):
        keys = dict.fromkeys(contract.key, f"{contract.name[0]}{number}")
        yield usual | keys | change | fixed


def content(source: Source, fixed: dict[str, str], lists: dict[str, str]) -> str:
    contract = source.contract
    if contract.form != "json":
        text = io.StringIO()
        writer = csv.DictWriter(text, contract.column_names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records(contract, fixed | lists))
        return text.getvalue()
    lines = []
    items = contract.items
    elements = list(records(items, {})) if items else []
    for number, record in enumerate(records(contract, fixed)):
        document = nested(contract, record)
        if items:
            document[items.path[0]] = [
                nested(items, e) for e in (elements if not number else elements[number % len(elements) :][:3])
            ]
        lines.append(json.dumps(document))
    if items:  # an element of each kind alone, so that those that fit are published
        lines += [
            json.dumps(
                nested(contract, next(records(contract, fixed)) | {contract.key[0]: f"e{n}"})
                | {items.path[0]: [nested(items, e)]}
            )
            for n, e in enumerate(elements)
        ]
    return "\n".join(lines) + "\n"


def nested(contract: Contract, record: dict[str, str]) -> dict:
    document: dict = {}
    for column in contract.columns:
        level = document
        for step in column.path[:-1]:
            level = level.setdefault(step, {})
        level.setdefault(column.path[-1], record[column.name])
    return document


def landing_key(source: Source) -> str:
    pattern = source.declared.pattern.split("|")[0].replace("**/", "")
    return (
        pattern.replace(".json", ".ndjson").replace("*", "1")
        if source.contract.form == "json"
        else pattern.replace("*", "1")
    )


def lists_in(pipeline: ResolvedPipeline, source: Source) -> dict[str, str]:
    """A list with every extreme element for each column that has lists."""
    lists = {}
    for listed in pipeline.list_sources(source):
        assert listed.list_column is not None
        names = [name for name in listed.contract.column_names if name not in source.contract.column_names]
        elements = [{name: record[name] for name in names} for record in records(listed.contract, {})]
        lists[listed.list_column.column] = json.dumps(elements, ensure_ascii=False)
    return lists


def archived(source: Source, text: str) -> bytes:
    """A landed archive of a CSV, if the source is one of archives."""
    data = text.encode()
    if not source.declared.archive:
        return data
    rows = sum(1 for _ in csv.reader(io.StringIO(text))) - 1
    return zipped({"movies.csv": data, "manifest.json": manifest(rows, CREATED, {"movies.csv": (data, rows)})})


def published(pipeline: ResolvedPipeline, home: Path, engine: str) -> dict[str, list[tuple]]:
    lake = PipelineLake.at.__func__(type("Lake", (PipelineLake,), {"pipeline": staticmethod(lambda: pipeline)}), home)
    for source in pipeline.landed_sources:
        path = home / "lake" / source.zone.bucket / landing_key(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        fixed = {column: "c0" for column, _ in source.parents}
        path.write_bytes(archived(source, content(source, fixed, lists_in(pipeline, source))))
    report = lake.run(engine=engine)
    assert report.rows["loaded"] > 0
    assert report.rejected == 0
    assert report.rows["read"] == sum(report.rows[name] for name in ("loaded", "superseded", "quarantined"))
    found = {}
    for contract in pipeline.targets:
        columns = ", ".join(name for name in contract.column_names if name != "BATCH_ID")
        found[contract.name] = sorted(lake.rows(f"SELECT {columns} FROM {target_table(contract).qualified}"), key=repr)
    found["quarantine"] = sorted(
        lake.rows("SELECT DATASET, LINE_NUMBER, REASON_CODE, REASON FROM OPS.QUARANTINE"), key=repr
    )
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name, each in pipelines().items() if not each.value.batches])
def test_extreme_values_of_every_column_load_or_are_quarantined_alike(name: str, tmp_path: Path) -> None:
    """Of pipelines with contracts; those of listed tables are learnt, see `reviews/test_mysql_types.py`."""
    pipeline = pipelines()[name]
    duckdb = published(pipeline, tmp_path / "duckdb", "duckdb")
    assert {reason for _, _, reason, _ in duckdb["quarantine"]} <= {"does_not_fit", "too_long", "not_a_number"}
    assert published(pipeline, tmp_path / "spark", "spark") == duckdb
