"""Strategies, formats and names of listed tables, and tables that fail while others load, through whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.errors import ConfigurationError, PipelineError
from pipeline_assets_tests.support.reviews_lake import ReviewsLake, ran

CREATE = "CREATE TABLE notes (id INTEGER, text TEXT, changed DATE)"


def notes(home: Path, *rows: str, **options: Any) -> ReviewsLake:
    lake = ReviewsLake.at(home, {"name": "notes", "key": "id", "cursor": "changed"} | options)
    lake.sql(CREATE, *insert(*rows))
    return lake


def insert(*rows: str) -> list[str]:
    return [f"INSERT INTO notes VALUES ({row})" for row in rows]


def test_append_distinct_keeps_true_duplicates_and_adds_none_by_reprocessing(tmp_path: Path) -> None:
    lake = notes(tmp_path, *["1, 'a', '2024-01-01'"] * 2, "1, 'b', '2024-01-01'", strategy="append_distinct")
    lake.extract()
    assert lake.table("NOTES", "ID, TEXT") == [(1, "a"), (1, "a"), (1, "b")]
    lake.sql(*insert("2, NULL, '2024-01-02'", "2, NULL, '2024-01-02'"))
    lake.extract()
    lake.run(reprocess=True)
    assert lake.table("NOTES", "ID, TEXT") == [(1, "a"), (1, "a"), (1, "b"), (2, None), (2, None)]


def test_append_distinct_needs_no_key(tmp_path: Path) -> None:
    lake = notes(tmp_path, "1, 'a', '2024-01-01'", strategy="append_distinct", key=[])
    lake.extract()
    assert lake.table("NOTES", "ID, TEXT") == [(1, "a")]


def test_a_full_refresh_has_the_rows_of_the_newest_extract(tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, {"name": "notes", "key": "id", "strategy": "full_refresh"})
    lake.sql(CREATE, *insert("1, 'a', NULL", "2, 'b', NULL"))
    lake.extract()
    lake.sql("DELETE FROM notes WHERE id = 1")
    lake.extract()
    assert lake.table("NOTES", "ID, TEXT") == [(2, "b")]
    lake.sql("DELETE FROM notes")
    lake.extract()
    assert lake.table("NOTES", "ID, TEXT") == [(2, "b")], "an empty source never empties the table"


def test_scd2_keeps_the_history_of_each_key(tmp_path: Path) -> None:
    lake = notes(tmp_path, "1, 'a', '2024-01-01'", "2, 'x', '2024-01-01'", strategy="scd2")
    lake.extract()
    lake.sql("UPDATE notes SET text = 'b', changed = '2024-01-02' WHERE id = 1")
    lake.extract()
    assert lake.table("NOTES", "ID, TEXT, IS_CURRENT") == [(1, "a", False), (1, "b", True), (2, "x", True)]
    assert len(lake.table("NOTES_OBSERVATIONS", "ID")) == 3
    before = lake.table("NOTES", "ID, TEXT, VALID_FROM, VALID_TO")
    lake.run(reprocess=True)
    assert lake.table("NOTES", "ID, TEXT, VALID_FROM, VALID_TO") == before
    lake.sql(
        "ALTER TABLE notes ADD COLUMN stars INTEGER", "UPDATE notes SET stars = 5, changed = '2024-01-03' WHERE id = 1"
    )
    lake.extract()
    assert lake.table("NOTES", "ID, TEXT, STARS, IS_CURRENT")[1:3] == [(1, "b", 5, True), (1, "b", None, False)]


def test_rows_without_a_cursor_value_are_extracted(tmp_path: Path) -> None:
    lake = notes(tmp_path, "1, 'a', '2024-01-01'")
    lake.extract()
    lake.sql(*insert("2, 'late', NULL"))
    lake.extract()
    assert lake.table("NOTES", "ID, TEXT") == [(1, "a"), (2, "late")]


def test_extracts_may_be_csv(tmp_path: Path) -> None:
    lake = notes(tmp_path, "1, 'a, \"b\"\nc', '2024-01-01'", "2, ' x ', NULL", format="csv")
    report = ran(lake.extract(), "notes")
    assert report.rows["loaded"] == 2
    assert lake.table("NOTES", "ID, TEXT") == [(1, 'a, "b"\nc'), (2, " x ")]
    assert {path.suffix for path in lake.landed("notes")} == {".csv", ".json"}


def test_rows_that_break_their_declared_type_are_quarantined(tmp_path: Path) -> None:
    lake = notes(tmp_path, "1, 'a', '2024-01-01'", "2, 'b', 'yesterday'")
    report = ran(lake.extract(), "notes")
    assert (report.rows["loaded"], report.rows["quarantined"]) == (1, 1)
    assert lake.rows("SELECT REASON_CODE FROM OPS.QUARANTINE") == [("not_a_date",)]


def test_a_table_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, {"name": "absent", "key": "id"}, {"name": "notes", "key": "id"})
    lake.sql(CREATE, *insert("1, 'a', '2024-01-01'"))
    with pytest.raises(PipelineError, match=r"absent: .* has no table absent"):
        lake.extract()
    assert lake.table("NOTES", "ID") == [(1,)]


def test_a_run_may_be_limited_to_some_tables(tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, {"name": "absent", "key": "id"}, {"name": "notes", "key": "id"})
    lake.sql(CREATE, *insert("1, 'a', '2024-01-01'"))
    assert list(lake.extract(tables=("notes",))) == ["notes"]


def test_a_personal_column_that_is_not_there_fails_before_anything_loads(tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, {"name": "notes", "key": "id", "personal": "mail", "trigger": {"event": True}})
    lake.land("notes", "a.csv", "id,email\n1,ann@example.org\n")
    with pytest.raises(ConfigurationError, match=r"notes.personal: mail is not a column.*ID, EMAIL"):
        lake.run()
    assert lake.rows("SELECT COUNT(*) FROM OPS.FILE_LEDGER") == [(0,)]


CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: notes
name: notes
version: 2.0.0
status: active
domain: reviews
description: {purpose: Notes by hand.}
team: {name: sales}
schema:
  - name: notes
    physicalName: NOTES
    physicalType: table
    properties:
      - {name: ID, logicalType: integer, physicalType: "NUMBER(10,0)", primaryKey: true, required: true}
      - name: TEXT
        logicalType: string
        physicalType: VARCHAR(5)
        logicalTypeOptions: {maxLength: 5}
"""


def test_a_contract_beside_the_list_rules_instead_of_what_is_learnt(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "notes.yaml").write_text(CONTRACT, encoding="utf-8")
    lake = notes(tmp_path, "1, 'a', '2024-01-01'", "2, 'too long', '2024-01-01'")
    report = ran(lake.extract(), "notes")
    assert (report.rows["loaded"], report.rows["quarantined"]) == (1, 1)
    assert lake.rows("SELECT ID, TEXT, _RESCUED FROM REVIEWS.NOTES")[0][:2] == (1, "a")
    assert "CHANGED" in str(lake.rows("SELECT _RESCUED FROM REVIEWS.NOTES"))
    assert lake.extract() == {"notes": None}


def test_a_contract_with_another_key_than_the_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "notes.yaml").write_text(CONTRACT, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"notes.yaml: the key is ID. The list of tables says none"):
        _ = notes(tmp_path, key="text", strategy="full_refresh", cursor=[]).pipeline


NAMES = ("order", 'Foo "bär; DROP TABLE y', "my__notes")


def test_any_name_of_tables_and_columns_is_only_a_name(tmp_path: Path) -> None:
    """Each names a table, its key and a column of the others."""
    lake = ReviewsLake.at(tmp_path, *({"name": name, "key": name, "cursor": "group"} for name in NAMES))
    quoted = {name: '"' + name.replace('"', '""') + '"' for name in (*NAMES, "group")}
    columns = ", ".join(quoted.values())

    def insert(values: str) -> list[str]:
        return [f"INSERT INTO {quoted[name]} VALUES ({values})" for name in NAMES]

    def rows() -> dict[str, list[tuple]]:
        select = f"SELECT {columns.upper()} FROM REVIEWS.{{}} ORDER BY 1"
        return {name: lake.rows(select.format(quoted[name].upper())) for name in NAMES}

    types = ", ".join(f"{column} INTEGER" for column in quoted.values())
    lake.sql(*(f"CREATE TABLE {quoted[name]} ({types})" for name in NAMES), *insert("1, 2, 3, 4"))
    reports = lake.extract()
    assert [report and report.rows["loaded"] for report in reports.values()] == [1] * len(NAMES)
    assert rows() == {name: [(1, 2, 3, 4)] for name in NAMES}
    assert lake.extract() == dict.fromkeys(reports)
    lake.sql(*insert("5, 6, 7, 8"))
    lake.extract()
    assert rows() == {name: [(1, 2, 3, 4), (5, 6, 7, 8)] for name in NAMES}


def test_tables_whose_names_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    lake = ReviewsLake.at(tmp_path, *({"name": name, "key": "id"} for name in ("foo", "Foo")))
    with pytest.raises(ConfigurationError, match="foo and Foo would be one table"):
        _ = lake.pipeline
