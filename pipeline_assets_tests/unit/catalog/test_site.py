"""The files of a site: whole or the earlier one, of texts that stay texts, with the changes since the run before."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from pipeline_assets.catalog.changes import compare, snapshot
from pipeline_assets.catalog.datasets import Dataset, datasets_of
from pipeline_assets.catalog.loaded import Loaded
from pipeline_assets.catalog.site import PAGE, write_site
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipelines import pipelines
from pipeline_assets_tests.support.catalog_site import data_of, details_of
from pipeline_assets_tests.support.shop_warehouse import NOON


@pytest.fixture(scope="module")
def datasets() -> list[Dataset]:
    return datasets_of([pipelines()["bookings"]])


def write(folder: Path, datasets: list[Dataset], at: datetime = NOON, **values) -> Path:
    given = {"rules": {}, "runs": {}, "reasons": {}, "freshness_hours": 26} | values
    return write_site(folder, datasets, Loaded(), at=at, **given)


def changed(datasets: list[Dataset], column: str, **changes: object) -> list[Dataset]:
    """The datasets after an edit of every column of a name."""
    return [
        replace(
            dataset,
            columns=tuple(
                replace(entry, column=replace(entry.column, **changes)) if entry.column.name == column else entry
                for entry in dataset.columns
            ),
        )
        for dataset in datasets
    ]


def test_the_shell_names_files_of_the_site_and_nothing_elsewhere(tmp_path: Path, datasets: list[Dataset]) -> None:
    index = write(tmp_path / "out", datasets)

    text = index.read_text(encoding="utf-8")
    named = [line.split('"')[1] for line in text.splitlines() if "<script src=" in line]
    assert [(index.parent / name).is_file() for name in named] == [True] * 6
    assert "://" not in text
    assert "$" not in text
    assert "default-src 'none'" in text


def test_the_layout_library_comes_with_its_licence(tmp_path: Path, datasets: list[Dataset]) -> None:
    folder = write(tmp_path, datasets).parent

    (licence,) = folder.glob("site-*/dagre/LICENSE")
    assert "Permission is hereby granted, free of charge" in licence.read_text(encoding="utf-8")
    assert len([*folder.glob("site-*/dagre/dagre-3.1.3.min.js")]) == 1


def test_no_script_of_the_page_parses_a_text_as_markup() -> None:
    for name in ("catalog.js", "graph.js", "lineage.js"):
        script = (PAGE / name).read_text(encoding="utf-8")
        for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "XMLHttp"):
            assert way not in script, name


def test_a_text_never_ends_a_script(tmp_path: Path, datasets: list[Dataset]) -> None:
    hostile = "</script><script>alert(1)</script>\u2028"
    write(tmp_path, changed(datasets, "EMAIL", description=hostile))

    for file in tmp_path.glob("site-*/data/*.js"):
        assert "<" not in file.read_text(encoding="utf-8")
    (email,) = [c for c in data_of(tmp_path)["datasets"][0]["columns"] if c[0] == "EMAIL"]
    assert email[3] == hostile


def test_a_second_site_replaces_the_first(tmp_path: Path, datasets: list[Dataset]) -> None:
    write(tmp_path, datasets)
    write(tmp_path, datasets[:2], at=NOON.replace(hour=13))

    assert len([*tmp_path.glob("site-*")]) == 1
    assert len(data_of(tmp_path)["datasets"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["contracts.json", "index.html"]


def test_a_site_that_cannot_be_written_whole_leaves_the_earlier_one(
    tmp_path: Path, datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = write(tmp_path, datasets)
    before = index.read_bytes()
    written = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "catalog.js" and path.parent.name == "data":
            raise OSError(28, "No space left on device")
        return written(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ConfigurationError, match="No space left on device"):
        write(tmp_path, datasets[:2])
    assert index.read_bytes() == before
    assert (tmp_path / before.decode().split('stylesheet" href="')[1].split("/")[0] / "catalog.js").exists()


@pytest.mark.parametrize("content", ["a file", "a damaged state"])
def test_a_folder_that_is_no_catalog_is_refused(tmp_path: Path, datasets: list[Dataset], content: str) -> None:
    name = "thesis.txt" if content == "a file" else "contracts.json"
    (tmp_path / name).write_text("[]", encoding="utf-8")

    with pytest.raises(ConfigurationError) as refused:
        write(tmp_path, datasets)
    assert str(tmp_path) in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_contracts_are_compared_with_those_of_the_run_before(tmp_path: Path, datasets: list[Dataset]) -> None:
    write(tmp_path, datasets)
    assert data_of(tmp_path)["changes"] == []
    edited = changed(datasets[:-1], "EMAIL", classification=None, description="")
    write(tmp_path, edited, at=NOON.replace(hour=13))
    write(tmp_path, edited, at=NOON.replace(hour=14))

    ((first,), stored) = data_of(tmp_path)["changes"], json.loads((tmp_path / "contracts.json").read_bytes())
    assert first["at"] == "2026-01-01 13:00:00"
    described = [(change["dataset"], change["column"], change["what"]) for change in first["found"]]
    assert described[:3] == [
        ("bookings/customer_bookings", "EMAIL", "description: E-mail address, as delivered. → nothing"),
        ("bookings/customer_bookings", "EMAIL", "personal: yes → no"),
        ("bookings/customer_bookings_csv", "", "removed"),
    ]
    assert stored["changes"] == [first]


def test_what_came_went_and_changed_is_found_in_both_directions(datasets: list[Dataset]) -> None:
    table = datasets[3]
    few = [replace(table, contract=replace(table.contract, version="2.0.0"), columns=table.columns[1:])]
    old, new = snapshot([table]), snapshot(few)

    def found(before: dict, after: dict) -> list[str]:
        return [f"{change['column']}: {change['what']}" for change in compare(before, after)]

    assert found(old, new) == [": version: 1.0.0 → 2.0.0", "BOOKING_ID: removed"]
    assert found(new, old) == [": version: 2.0.0 → 1.0.0", "BOOKING_ID: added"]
    assert found({}, old) == [": added"]
    assert found(old, old) == []


def test_details_have_the_select_and_the_expressions(tmp_path: Path, datasets: list[Dataset]) -> None:
    write(tmp_path, datasets, rules={"bookings/daily_spend": [{"name": "reconciles", "passed": False}]})

    details = details_of(tmp_path, "bookings/daily_spend")
    assert details["sqlName"] == "sql/bookings/daily_spend.sql"
    assert details["sql"].startswith("SELECT")
    assert details["steps"]["AMOUNT_SPENT"] == [["", "AMOUNT_SPENT", "SUM(BOOKED.AMOUNT_SPENT)"]]
    failed = {dataset["key"]: dataset["failed"] for dataset in data_of(tmp_path)["datasets"]}
    assert [key for key, checks in failed.items() if checks] == ["bookings/daily_spend"]
