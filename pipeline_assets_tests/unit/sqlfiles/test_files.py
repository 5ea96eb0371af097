"""CheckResult and reading SQL files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.sqlfiles import files, load_sql, sql_files, with_bind_variables

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Put a statement in a folder of its own, as `<folder>/thing`."""
    monkeypatch.setattr(files, "sql_root", lambda: tmp_path)
    load_sql.cache_clear()

    def write(text: str, folder: str = "things") -> None:
        load_sql.cache_clear()
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "thing.sql").write_text(text, encoding="utf-8")

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


@pytest.mark.parametrize("folder", ["ops", "platform"])
@pytest.mark.parametrize("statement", ["DELETE FROM A", "insert into A (B) select 1 AS B", "GRANT A TO B"])
def test_a_statement_of_the_platform_without_rows_opens_with_what_it_makes(
    write: Write, folder: str, statement: str
) -> None:
    write(f"-- Makes: a change,\n-- as said.\n{statement};\n", folder)
    found = load_sql(f"{folder}/thing")
    assert (found.grain, found.statement) == ("a change, as said.", statement)

    write(f"-- Grain: one row.\n{statement}\n", folder)
    with pytest.raises(
        ConfigurationError, match=rf"sql/{folder}/thing\.sql does not open with what it makes"
    ) as refused:
        load_sql(f"{folder}/thing")
    assert refused.value.remedy == "Start with `-- Makes: …`."


@pytest.mark.parametrize(
    ("folder", "statement"),
    [
        ("ops", "SELECT 1 AS A"),
        ("ops", "WITH B AS (SELECT 1 AS A) SELECT A FROM B"),
        ("things", "SELECT 1 AS A"),
        ("things", "DELETE FROM A"),
    ],
)
def test_queries_and_all_files_of_pipelines_open_with_their_grain(write: Write, folder: str, statement: str) -> None:
    """That a file of a pipeline is no SELECT is said when the pipeline is resolved."""
    write(f"-- Makes: one row.\n{statement}\n", folder)

    with pytest.raises(ConfigurationError, match="does not open with its grain"):
        load_sql(f"{folder}/thing")


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
