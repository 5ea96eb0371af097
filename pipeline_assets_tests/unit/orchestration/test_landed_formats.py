"""The asset of a source says in which formats its files land."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.orchestration.specs import source_spec
from pipeline_assets.pipeline import LandedFiles, Table
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets_tests.support.small_pipelines import pipeline_of


@pytest.mark.parametrize(
    ("form", "pattern", "kinds", "said"),
    [
        ("csv", "in/*.csv", {"csv"}, "CSV files"),
        ("csv", "in/*.PARQUET", {"parquet"}, "PARQUET files"),
        ("csv", "in/*.csv|in/*.parquet", {"csv", "parquet"}, "CSV and PARQUET files"),
        ("json", "in/*", {"json"}, "JSON files"),
    ],
)
def test_patterns_and_contract_say_the_formats(
    tmp_path: Path, form: str, pattern: str, kinds: set[str], said: str
) -> None:
    value = pipeline_of(
        tmp_path,
        {"landed_items": (form, ["ITEM text key"]), "items": ("table", ["ITEM text key"])},
        {"items": "SELECT L.ITEM FROM LANDED_ITEMS AS L"},
        sources=[LandedFiles("landed_items", pattern)],
        tables=[Table("items")],
    )
    pipeline = resolve(value)
    spec = source_spec(pipeline.sources[0], pipeline)
    assert spec.kinds == {"s3", *kinds}
    assert said in (spec.description or "")
