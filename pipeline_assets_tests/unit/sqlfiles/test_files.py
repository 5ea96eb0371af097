"""CheckResult and reading SQL files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.sqlfiles import files, load_sql, sql_files, with_bind_variables

Write = Callable[[str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Put a statement in a folder of its own, as `things/thing`."""
    monkeypatch.setattr(files, "sql_root", lambda: tmp_path)
    load_sql.cache_clear()

    def write(text: str) -> None:
        (tmp_path / "things").mkdir(exist_ok=True)
        (tmp_path / "things" / "thing.sql").write_text(text, encoding="utf-8")

    yield write  # type: ignore[misc]
    load_sql.cache_clear()


def test_a_file_is_named_by_its_path_and_opens_with_its_grain(write: Write) -> None:
    write("-- Grain: one row per thing,\n-- the newest version.\nSELECT 1 AS A -- one\n;\n")

    found = load_sql("things/thing")

    assert sql_files() == sorted(sql_files())
    assert files.sql_files() == ["things/thing"]
    assert (found.name, found.grain) == ("things/thing", "one row per thing, the newest version.")
    assert found.text.endswith("SELECT 1 AS A -- one\n")


def test_a_file_without_its_grain_is_refused(write: Write) -> None:
    write("-- A comment.\nSELECT 1 AS A\n")

    with pytest.raises(ConfigurationError, match=r"sql/things/thing\.sql does not open with its grain") as refused:
        load_sql("things/thing")
    assert refused.value.remedy


@pytest.mark.parametrize("statement", ["DELETE FROM A", "insert into A (B) select 1 AS B", "UPDATE A SET B = 1"])
def test_a_statement_without_rows_opens_with_what_it_makes(write: Write, statement: str) -> None:
    write(f"-- Makes: a change,\n-- as said.\n{statement};\n")
    assert (load_sql("things/thing").grain, load_sql("things/thing").statement) == ("a change, as said.", statement)

    load_sql.cache_clear()
    write(f"-- Grain: one row.\n{statement}\n")
    with pytest.raises(ConfigurationError, match=r"sql/things/thing\.sql does not open with what it makes") as refused:
        load_sql("things/thing")
    assert refused.value.remedy == "Start with `-- Makes: …`."


@pytest.mark.parametrize("statement", ["SELECT 1 AS A", "WITH B AS (SELECT 1 AS A) SELECT A FROM B", "(SELECT 1 AS A)"])
def test_a_query_opens_with_its_grain_and_not_with_what_it_makes(write: Write, statement: str) -> None:
    write(f"-- Makes: one row.\n{statement}\n")

    with pytest.raises(ConfigurationError, match="does not open with its grain"):
        load_sql("things/thing")


@pytest.mark.parametrize("text", ["", "-- Grain: one row.\n", "-- Makes: nothing.\n;\n"])
def test_a_file_without_a_statement_is_refused(write: Write, text: str) -> None:
    write(text)

    with pytest.raises(ConfigurationError, match=r"sql/things/thing\.sql has no statement"):
        load_sql("things/thing")


def test_a_bound_value_gets_a_name_that_parsers_read() -> None:
    sql = "SELECT A % 2 FROM T WHERE B = %(b_1)s AND C IN (%(c)s)"

    assert with_bind_variables(sql) == "SELECT A % 2 FROM T WHERE B = :b_1 AND C IN (:c)"


def test_an_absent_file_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"sql/things/absent\.sql does not exist"):
        load_sql("things/absent")
