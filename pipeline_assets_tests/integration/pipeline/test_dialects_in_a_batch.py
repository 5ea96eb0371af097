"""A dialect from its contract to the tables, to quarantine and back: what sessions alone do not show."""

from __future__ import annotations

from pathlib import Path

import yaml

from pipeline_assets.pipeline import LandedFiles, Pipeline, Table
from pipeline_assets_tests.support.small_pipelines import SmallLake, lake_of, pipeline_of


def value(folder: Path) -> Pipeline:
    """Items without a header, separated by semicolons, in windows-1252."""
    columns = ["ITEM text key", "NAME text", "PRICE number"]
    made = pipeline_of(
        folder,
        {"lines": ("csv", columns), "items": ("table", columns)},
        {"items": "SELECT LINES.ITEM, LINES.NAME, LINES.PRICE FROM LINES"},
        sources=[LandedFiles("lines", "in/*.csv")],
        tables=[Table("items")],
    )
    path = folder / "contracts" / "lines.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    dialect = {"header": False, "delimiter": ";", "encoding": "windows-1252", "nullText": "-"}
    document["schema"][0]["customProperties"] = [{"property": "dialect", "value": dialect}]
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return made


def test_records_load_by_position_and_bad_ones_wait_without_their_values_in_the_reason(tmp_path: Path) -> None:
    lake: SmallLake = lake_of(value(tmp_path / "value")).at(tmp_path / "home")
    lake.write("1.csv", "x;Caf\xe9, grand;1,5\ny;-;2\n;secret@example.org;3".encode("cp1252"))
    report = lake.run()
    assert report.rows == {"read": 3, "loaded": 1, "superseded": 0, "quarantined": 2}
    assert lake.cells()["items"] == [("y", "None", "2.0000")]
    waiting = lake.rows("SELECT LINE_NUMBER, REASON_CODE, REASON, RAW_RECORD FROM OPS.QUARANTINE ORDER BY 1")
    assert [(int(line), code, raw) for line, code, _, raw in waiting] == [
        (1, "not_a_number", "x;Caf\xe9, grand;1,5"),
        (3, "missing_key", ";secret@example.org;3"),
    ]
    assert "secret" not in waiting[1][2]
    assert lake.run(replay=True).released == 0
    assert lake.run().notes == []


def test_a_header_that_somebody_put_there_is_skipped_and_reported(tmp_path: Path) -> None:
    lake: SmallLake = lake_of(value(tmp_path / "value")).at(tmp_path / "home")
    lake.write("1.csv", "item;Name;PRICE\nx;a;1\n")
    report = lake.run()
    assert report.rows["read"] == 1
    assert report.notes == ["lake://shop-bucket/in/1.csv: the first record names the columns and was skipped."]
