"""`status`: the totals of each pipeline, and the tables that are extracted one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets.commands.status import status
from pipeline_assets_tests.support.reviews_lake import ReviewsLake

CREATE = "CREATE TABLE {} (id INTEGER, email TEXT, changed DATE)"


def test_each_extracted_table_has_its_rows_its_last_load_and_its_watermark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    lake = ReviewsLake.at(
        tmp_path,
        {"name": "books", "key": "id", "cursor": "changed"},
        {"name": "people", "key": "id", "cursor": "email", "personal": ["email"], "strategy": "scd2"},
        {"name": "prices", "key": [], "strategy": "full_refresh"},
        {"name": "landed", "key": "id", "trigger": {"event": True}},
    )
    for name in ("books", "people", "prices"):
        lake.sql(CREATE.format(name), f"INSERT INTO {name} VALUES (1, 'a@b.c', '2024-01-02'), (2, NULL, '2024-01-03')")
    lake.extract()
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("PIPELINE_REVIEWS_TABLES", str(lake.settings.reviews_tables))
    status()
    printed = [line.replace("│", " ").split() for line in capsys.readouterr().out.splitlines()]
    lines = {words[0]: words[1:] for words in printed if words and words[0].startswith("REVIEWS.")}
    snapshot = lake.state("people").watermark
    assert snapshot
    assert lines.keys() == {"REVIEWS.BOOKS", "REVIEWS.PEOPLE", "REVIEWS.PRICES", "REVIEWS.LANDED"}
    assert (lines["REVIEWS.BOOKS"][0], lines["REVIEWS.BOOKS"][-1]) == ("2", "2024-01-03")
    assert (lines["REVIEWS.PEOPLE"][0], lines["REVIEWS.PEOPLE"][-1]) == ("2", snapshot.snapshot_at)
    assert lines["REVIEWS.PRICES"][-1] == lake.state("prices").watermark.snapshot_at  # type: ignore[union-attr]
    assert lines["REVIEWS.LANDED"] == ["0", "never", "never"]
