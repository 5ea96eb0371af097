"""A batch that changes a table stores the table's pictures with its materialization; what prevents one is a warning."""

from __future__ import annotations

import base64
import io
from datetime import date
from functools import cache
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from pipeline_assets.orchestration import plots
from pipeline_assets.orchestration.assets import pipeline_assets
from pipeline_assets.pipeline import LandedFiles, Mart, Plot, Table, View
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, pipeline_of, temporary

CONTRACTS = {
    "visits": ("table", ["VISIT text key", "ROOM text", "NIGHTS integer"]),
    "nights": ("table", ["ROOM text key", "NIGHTS integer"]),
    "rooms": ("table", ["ROOM text key"]),
    "towns": ("csv", ["TOWN text key"]),
}
SQL = {
    "nights": "SELECT V.ROOM, SUM(V.NIGHTS) AS NIGHTS FROM SHOP.VISITS AS V GROUP BY V.ROOM",
    "rooms": "SELECT V.ROOM FROM SHOP.VISITS AS V GROUP BY V.ROOM",
    "plots/a_number": "SELECT V.ROOM, CAST(V.ROOM AS NUMBER(9, 0)) AS N FROM SHOP.VISITS AS V ORDER BY V.ROOM LIMIT 9",
    "plots/busy": "SELECT N.ROOM, N.NIGHTS FROM SHOP.NIGHTS AS N ORDER BY N.NIGHTS DESC LIMIT 10",
    "plots/names": "SELECT R.ROOM, LENGTH(R.ROOM) AS LETTERS FROM SHOP.ROOMS AS R ORDER BY R.ROOM LIMIT 10",
    "plots/towns": "SELECT T.TOWN, LENGTH(T.TOWN) AS LETTERS FROM SHOP.TOWNS AS T ORDER BY T.TOWN LIMIT 10",
}


@cache
def kind() -> type[SmallLake]:
    value = pipeline_of(
        temporary(),
        CONTRACTS,
        SQL,
        sources=[LandedFiles("visits", "in/visits*.csv"), LandedFiles("towns", "in/towns*.csv")],
        tables=[Table("visits"), Table("towns"), Mart("nights", refresh_by="ROOM"), View("rooms")],
        plots=[
            Plot("a_number", of="visits", kind="bar"),
            Plot("busy", of="nights", kind="barh"),
            Plot("names", of="rooms", kind="bar"),
            Plot("towns", of="towns", kind="bar"),
        ],
    )
    return lake_of(value)


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return kind().with_tables(tmp_path / "home")


class Run:
    """One run of the pipeline in Dagster: what its events store, and the warnings in its log."""

    def __init__(self, lake: SmallLake) -> None:
        assets = pipeline_assets(kind().pipeline(), 24, date(2026, 1, 1))
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize(assets, instance=instance, resources={"platform": lake.platform})
            records = instance.all_logs(result.run_id)
        assert result.success
        self.pictures = {
            (event.asset_key.path[-1], name.removeprefix("plot_")): picture_in(entry)
            for event in result.get_asset_materialization_events()
            for name, entry in event.materialization.metadata.items()
            if event.asset_key and name.startswith("plot_")
        }
        self.observed = {e.asset_key.path[-1] for e in result.get_asset_observation_events() if e.asset_key}
        self.warnings = [record.user_message for record in records if record.level == 30]


def picture_in(entry: dg.MetadataValue) -> tuple[int, int]:
    """The size of the picture in a Markdown text."""
    assert isinstance(entry, dg.MarkdownMetadataValue)
    start, _, data = entry.md_str.partition("(data:image/png;base64,")
    assert start.startswith("![")
    return Image.open(io.BytesIO(base64.b64decode(data.removesuffix(")"), validate=True))).size


def visit(number: int, room: str, nights: int) -> dict[str, object]:
    return {"VISIT": f"v{number}", "ROOM": room, "NIGHTS": nights}


def test_the_tables_and_views_that_a_run_changes_have_their_pictures_and_no_others(lake: SmallLake) -> None:
    lake.csv("visits1", visit(1, "7", 2), at=1)
    everything = {("visits", "a_number"): (700, 350), ("nights", "busy"): (700, 350), ("rooms", "names"): (700, 350)}
    first = Run(lake)
    assert (first.pictures, first.warnings) == (everything, [])

    lake.csv("towns1", {"TOWN": "Łódź"}, at=2)
    assert Run(lake).pictures == {("towns", "towns"): (700, 350)}

    unchanged = Run(lake)
    assert unchanged.pictures == {}
    assert {"visits", "nights", "rooms", "towns"} <= unchanged.observed


def test_a_select_that_fails_is_a_warning_with_its_reason(lake: SmallLake) -> None:
    """The pictures that are read after it may be missing as well, the tables' other metadata may not."""
    lake.csv("visits1", visit(1, "seven", 2), at=1)
    run = Run(lake)
    assert run.warnings[0].startswith("The plot a_number was not drawn: The warehouse refused")
    assert ("visits", "a_number") not in run.pictures
    assert len(run.pictures) + len(run.warnings) == 3
    assert lake.rows("SELECT COUNT(*) FROM SHOP.VISITS") == [(1,)]


def test_a_picture_that_cannot_be_drawn_is_a_warning_and_the_others_are_drawn(
    lake: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("No fonts\nhere.")

    monkeypatch.setitem(plots._DRAW, "barh", broken)
    lake.csv("visits1", visit(1, "7", 2), at=1)
    run = Run(lake)
    assert run.warnings == ["The plot busy was not drawn: No fonts here."]
    assert set(run.pictures) == {("visits", "a_number"), ("rooms", "names")}
