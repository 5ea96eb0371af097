"""A catalog of 1,000 datasets of 50 columns: written, searched and followed in seconds, as bounds that leave room."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from pipeline_assets.catalog.datasets import ColumnEntry, Dataset
from pipeline_assets.catalog.loaded import Loaded
from pipeline_assets.catalog.site import write_site
from pipeline_assets.contracts import Column, Contract
from pipeline_assets.pipeline.selects import Select, Step
from pipeline_assets_tests.support.browser import chromium, visit
from pipeline_assets_tests.support.shop_warehouse import NOON

PIPELINES, DATASETS, COLUMNS = 10, 100, 50
NAMES = tuple(f"C{number}" for number in range(COLUMNS))


def large_catalog() -> list[Dataset]:
    """In each pipeline a source, and tables over two earlier ones, so that a way has many branches."""
    return [dataset for pipeline in range(PIPELINES) for dataset in _datasets(f"p{pipeline}")]


def _datasets(pipeline: str) -> Iterator[Dataset]:
    for number in range(DATASETS):
        key = f"{pipeline}/d{number}"
        columns = tuple(Column(name, "number", "NUMBER(18,4)", f"Value {name} of {key}.") for name in NAMES)
        contract = Contract(
            f"d{number}", f"D{number}", "1.0.0", pipeline, "A table.", "One row per C0.", "team", columns
        )
        if number == 0:
            fields = tuple(ColumnEntry(column, origin=f"Field {column.name} of the CSV.") for column in columns)
            yield Dataset(key, pipeline, "source", f"bucket/{pipeline}/*.csv", contract, fields)
            continue
        read = sorted({(number - 1) // 2, number // 2 - 1} - {-1})
        text, derived = _derived(read[0], read[-1])
        entries = tuple(
            ColumnEntry(column, tuple((f"{pipeline}/{source}", name) for source, name in sources), steps)
            for column, (sources, steps) in zip(columns, derived, strict=True)
        )
        reads = tuple(f"{pipeline}/d{each}" for each in read)
        yield Dataset(
            key, pipeline, "mart", f"{pipeline}.D{number}".upper(), contract, entries, reads, text, f"sql/{key}.sql"
        )


@cache
def _derived(first: int, last: int) -> tuple[str, list[tuple[list[tuple[str, str]], tuple[Step, ...]]]]:
    """A SELECT over two tables, and of each column its sources and steps; the same in each pipeline."""
    values = ", ".join(f"COALESCE(A.{name}, 0) + B.{name} AS {name}" for name in NAMES)
    text = f"SELECT {values} FROM SHOP.D{first} AS A INNER JOIN SHOP.D{last} AS B ON A.C0 = B.C0"
    select = Select("sql/shop.sql", text, {f"SHOP.D{first}": NAMES, f"SHOP.D{last}": NAMES})
    derived = []
    for name in NAMES:
        sources = [(relation.partition(".")[2].lower(), column) for relation, column in select.sources_of(name)]
        derived.append((sources, tuple(select.steps_of(name))))
    return text, derived


@contextmanager
def at_most(seconds: float, what: str) -> Iterator[Callable[[], float]]:
    started = time.monotonic()
    yield lambda: time.monotonic() - started
    took = time.monotonic() - started
    print(f"{what}: {took:.1f} s")
    assert took < seconds, what


@pytest.mark.slow
def test_a_large_catalog_is_written_searched_and_followed_in_seconds(tmp_path: Path) -> None:
    with chromium() as browser, visit(browser) as visited:
        page = visited.page
        with at_most(60, "derive"):
            datasets = large_catalog()
        with at_most(60, "write"):
            index = write_site(tmp_path, datasets, Loaded(), rules={}, runs={}, reasons={}, freshness_hours=26, at=NOON)
        with at_most(20, "load"):
            page.goto(index.as_uri())
            visited.heading("Datasets")
        with at_most(10, "search"):
            page.get_by_label("Search datasets and columns").fill("p7 d99 c49")
            visited.heading("1 result for p7 d99 c49")
        with at_most(10, "lineage"):
            page.locator(".results a").click()
            visited.heading("p7/d99.C49")
        assert page.locator(".graph .chosen").count() == 1
        assert "COALESCE(A.C49, 0) + B.C49" in page.locator(".hops .chosen").inner_text()
        with at_most(10, "lineage of a source"):
            page.goto(f"{index.as_uri()}#/column/p3/d0/C7")
            visited.heading("p3/d0.C7")
        assert "The nearest 61 of 100 columns are shown." in page.locator("main").inner_text()
        with at_most(10, "search of everything"):
            page.get_by_label("Search datasets and columns").fill("value")
            visited.heading("50,000 results for value")
        with at_most(20, "graph of a pipeline"):
            page.goto(f"{index.as_uri()}#/pipeline/p3")
            visited.heading("p3")
        assert not visited.complaints
