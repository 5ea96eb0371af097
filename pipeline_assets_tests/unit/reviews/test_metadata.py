"""The list of tables of reviews: what it says, and every mistake with its line and a remedy, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.pipeline.resolve import _SAFE_NAME
from pipeline_assets.reviews.metadata import ListedTable, TableList, load_table_list


def listed(folder: Path, text: str) -> TableList:
    path = folder / "tables.yaml"
    path.write_text(text, encoding="utf-8")
    return load_table_list(path)


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        listed(folder, text)
    return str(caught.value).splitlines()


def test_all_but_name_and_key_is_optional(tmp_path: Path) -> None:
    assert listed(tmp_path, "source: shop\ntables:\n- {name: orders, key: id}\n") == TableList(
        "shop", (ListedTable("orders", ("id",)),)
    )


def test_every_option_is_read(tmp_path: Path) -> None:
    text = """\
source: shop
tables:
  - name: order_lines
    key: [order_id, line]
    cursor: updated_at
    strategy: scd2
    deletes: soft
    trigger: {schedule: "*/10 * * * *"}
    format: csv
    schema: freeze
    owner: sales
    description: One row per line.
    personal: [note]
  - {name: prices, key: id, trigger: {event: true}}
"""
    lines, prices = listed(tmp_path, text).tables
    assert lines == ListedTable(
        name="order_lines",
        key=("order_id", "line"),
        cursor=("updated_at",),
        strategy="scd2",
        deletes="soft",
        schedule="*/10 * * * *",
        format="csv",
        schema="freeze",
        owner="sales",
        description="One row per line.",
        personal=("note",),
    )
    assert prices.event
    assert prices.schedule is None


def in_table(options: str, name: str = "orders") -> str:
    return f"source: shop\ntables:\n- name: {name}\n  key: id\n  {options}\n"


MISTAKES = {
    "an unknown option": (in_table("stategy: upsert"), "line 5: tables.stategy: is not read", "mean strategy?"),
    "an unknown entry of the file": ("sorce: shop\nsource: s\ntables: [{name: a, key: b}]", "line 1", "mean source?"),
    "an unknown strategy": (in_table("strategy: merge"), "line 5: orders.strategy: 'merge'", "upsert, append_distinct"),
    "an unknown format": (in_table("format: orc"), "line 5: orders.format: 'orc' is unknown", "parquet, csv"),
    "an unknown policy": (in_table("schema: drop"), "line 5: orders.schema: 'drop' is unknown", "evolve, freeze"),
    "an option twice": (in_table("key: other"), "line 5: tables: key is given twice", "Remove"),
    "a table twice": (in_table("owner: a\n- {name: orders, key: id}"), "line 6: orders: is listed in line 3", "Remove"),
    "no source": ("tables:\n- {name: a, key: b}", "the file: has no source", "Write `source:`"),
    "a source that is no folder": ("source: a/b\ntables: [{name: a, key: b}]", "'a/b' is not usable", "folder"),
    "no tables": ("source: shop\ntables: []", "line 2: tables: is not a list of tables", "Write `- name:"),
    "an empty file": ("", "the file: has no entries", "Known: source, tables"),
    "a list": ("- source", "the file: has no entries", "Known: source, tables"),
    "no name": ("source: s\ntables:\n- {key: a}", "line 3: tables: a table has no name", "Write `name:`"),
    "a name that is no text": (in_table("owner: o", name="no"), "line 3: name: is not a text", "quotes"),
    "a name with a line end": (in_table("owner: o", name='"a\\nb"'), "is not usable", "line ends"),
    "a key that is no text": ("source: s\ntables:\n- {name: a, key: [1]}", "line 3: a.key: is not a text", "quotes"),
    "a key column twice": ("source: s\ntables:\n- {name: a, key: [b, B]}", "a.key: B is given twice", "Remove"),
    "an upsert without key": (
        "source: s\ntables:\n- {name: a}",
        "a.key: is missing; upsert needs it",
        "append_distinct",
    ),
    "an scd2 without key": ("source: s\ntables:\n- {name: a, key: [], strategy: scd2}", "scd2 needs it", "append_"),
    "soft deletes of a full refresh": (
        in_table("strategy: full_refresh\n  deletes: soft"),
        "line 6: orders.deletes: soft does not go with full_refresh",
        "leave deletes out",
    ),
    "soft deletes without identity": (
        in_table("strategy: append_distinct\n  deletes: soft"),
        "line 6: orders.deletes: soft does not go with append_distinct",
        "upsert or scd2",
    ),
    "a cursor of a full refresh": (in_table("strategy: full_refresh\n  cursor: at"), "orders.cursor: is not", "leave"),
    "a wrong cron": (in_table("trigger: {schedule: daily}"), "orders.trigger.schedule: 'daily' is not a cron", "five"),
    "a cron of a random hour": (in_table('trigger: {schedule: "0 R * * *"}'), "'0 R * * *' is not a cron", "five"),
    "a cron of other digits": (in_table('trigger: {schedule: "0 \u0663 * * *"}'), "is not a cron", "five"),
    "half a character": (in_table('description: "\\ud800"'), "orders.description: has half a character", "itself"),
    "a source longer than a folder": (
        f"source: {'s' * 129}\ntables: [{{name: a, key: b}}]",
        "not usable",
        "at most 128",
    ),
    "no trigger": (in_table("trigger: {}"), "orders.trigger: has 0 entries", "Write `schedule: <cron>`"),
    "two triggers": (in_table('trigger: {schedule: "0 5 * * *", event: true}'), "has 2 entries", "event: true"),
    "an event that is none": (in_table("trigger: {event: false}"), "orders.trigger.event: is not true", "leave"),
    "a cursor of landed files": (in_table("trigger: {event: true}\n  cursor: at"), "line 6: orders.cursor", "others"),
    "a format of landed files": (in_table("trigger: {event: true}\n  format: csv"), "line 6: orders.format", "others"),
    "a reserved key": (in_table("owner: a", name="b\n  key: _batch_id").replace("  key: id\n", ""), "reserved", "view"),
    "a key like a column of the history": (
        "source: s\ntables:\n- {name: a, key: valid_to, strategy: scd2}",
        "'valid_to' is reserved",
        "rename it in a view",
    ),
    "a table like the observations of another": (
        "source: s\ntables:\n- {name: a, key: b, strategy: scd2}\n- {name: A_observations, key: b}",
        "line 3: a: keeps its observations in a table named like 'A_observations'",
        "list a view",
    ),
    "an owner that Dagster refuses": (in_table("owner: the team!"), "line 5: orders.owner", "letters, digits"),
    "an alias": ("source: &s shop\ntables:\n- {name: *s, key: id}", "line 3: is an alias", "Write the value"),
    "no YAML": ("source: [", "line 1: is not YAML", "Correct"),
}


@pytest.mark.parametrize(("text", "what", "remedy"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_with_its_line_and_a_remedy(text: str, what: str, remedy: str, tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, text)
    assert line.startswith("tables.yaml: ")
    assert what in line
    assert remedy in line


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = "source: a/b\ntables:\n- {name: a, key: b, strategy: merge}\n- {name: c, frmat: csv, key: d}\n"
    assert len(mistakes(tmp_path, text)) == 3


def test_a_tag_before_a_list_is_no_word(tmp_path: Path) -> None:
    text = "source: shop\ntables:\n- {name: a, key: id, trigger: {event: !!bool [x]}}\n"
    assert "line 3: a.trigger.event: is not true" in mistakes(tmp_path, text)[0]


def test_lists_in_lists_without_end_are_refused(tmp_path: Path) -> None:
    text = f"source: shop\ntables:\n- {{name: a, key: {'[' * 600}{']' * 600}}}\n"
    assert "nested too deeply" in mistakes(tmp_path, text)[0]


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent.yaml cannot be read: No such file.*PIPELINE_REVIEWS_TABLES"):
        load_table_list(tmp_path / "absent.yaml")


def test_targets_are_in_upper_case() -> None:
    tables = TableList("s", tuple(ListedTable(name, ("k",)) for name in ("actor", "Film", "x; drop")))
    assert [tables.names[table.name].target for table in tables.tables] == ["ACTOR", "FILM", "X; DROP"]


@given(st.sets(st.text(min_size=1, max_size=20).filter(str.isprintable), min_size=1, max_size=6))
def test_any_names_give_datasets_and_folders_of_their_own(names: set[str]) -> None:
    tables = TableList("s", tuple(ListedTable(name, ("k",)) for name in sorted(names)))
    datasets = [each.dataset for each in tables.names.values()]
    assert all(_SAFE_NAME.fullmatch(dataset) for dataset in datasets)
    folders = [table.folder for table in tables.tables]
    assert all("/" not in folder and not folder.startswith(".") for folder in folders)
    for found in (datasets, folders):
        assert len(set(found)) == len(names)
