"""What a table of reviews learns from the columns of its objects, and which objects it rejects."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.errors import ConfigurationError, RejectedObjectError
from pipeline_assets.reviews.columns import SourceColumn
from pipeline_assets.reviews.metadata import ListedTable
from pipeline_assets.reviews.schema import Detail, ObjectColumns, Shape, learn, require_columns

TABLE = ListedTable("orders", ("id",))
TARGET = "REVIEWS.ORDERS"


def columns(text: str) -> tuple[SourceColumn, ...]:
    """Columns of `id NUMBER(10,0), note VARCHAR`; a type without size is not sized."""
    named = (entry.strip().split(" ") for entry in text.split(", "))
    return tuple(SourceColumn(name, "", kind, is_sized="(" in kind) for name, kind in named)


def extract(text: str, version: str = "2", detail: Detail = "types") -> ObjectColumns:
    return ObjectColumns(columns(text), detail, version)


def shape_of(text: str) -> Shape:
    return learn(Shape(), extract(text, "1"), TABLE, TARGET)


def after(before: str, *objects: ObjectColumns, table: ListedTable = TABLE) -> dict[str, str]:
    shape = shape_of(before)
    for each in objects:
        shape = learn(shape, each, table, TARGET)
    return {column.name: column.physical_type for column in shape.columns}


def drift(before: str, found: ObjectColumns, table: ListedTable = TABLE) -> str:
    with pytest.raises(RejectedObjectError) as raised:
        learn(shape_of(before), found, table, TARGET)
    assert raised.value.code == "schema_drift"
    return str(raised.value)


def test_a_first_object_gives_the_columns() -> None:
    assert after("id NUMBER(10,0), note VARCHAR") == {"id": "NUMBER(10,0)", "note": "VARCHAR"}


@pytest.mark.parametrize(
    ("before", "now", "learnt"),
    [
        ("NUMBER(10,2)", "NUMBER(12,2)", "NUMBER(12,2)"),
        ("VARCHAR(20)", "VARCHAR(30)", "VARCHAR(30)"),
        ("VARCHAR(20)", "VARCHAR", "VARCHAR"),
        ("VARCHAR", "VARCHAR(20)", "VARCHAR"),
        ("DATE", "DATE", "DATE"),
    ],
)
def test_a_wider_type_is_followed(before: str, now: str, learnt: str) -> None:
    assert after(f"id NUMBER(10,0), a {before}", extract(f"id NUMBER(10,0), a {now}"))["a"] == learnt


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("NUMBER(10,2)", "NUMBER(8,2)"),
        ("NUMBER(10,2)", "NUMBER(12,4)"),
        ("VARCHAR(20)", "VARCHAR(10)"),
        ("VARCHAR(20)", "NUMBER(10,0)"),
        ("NUMBER(10,0)", "FLOAT"),
        ("DATE", "TIMESTAMP_NTZ(6)"),
    ],
)
def test_a_narrower_or_other_type_is_rejected_with_both_types_and_a_remedy(before: str, now: str) -> None:
    message = drift(f"id NUMBER(10,0), a {before}", extract(f"id NUMBER(10,0), a {now}"))
    assert f"A: expected {before}, actual {now}" in message
    assert "rename or drop REVIEWS.ORDERS: the next extract loads all of the table" in message


def test_an_older_object_may_be_narrower_and_lack_columns() -> None:
    older = extract("id NUMBER(10,0), a VARCHAR(10)", version="0")
    shape = learn(shape_of("id NUMBER(10,0), a VARCHAR(20), b DATE"), older, TABLE, TARGET)
    assert [column.physical_type for column in shape.columns] == ["NUMBER(10,0)", "VARCHAR(20)", "DATE"]
    assert not shape.dropped
    assert shape.version == "1"


def test_a_new_column_is_added_or_by_freeze_rejected() -> None:
    new = extract("id NUMBER(10,0), b DATE")
    assert after("id NUMBER(10,0)", new) == {"id": "NUMBER(10,0)", "b": "DATE"}
    message = drift("id NUMBER(10,0)", new, replace(TABLE, schema="freeze"))
    assert "B: expected none, actual DATE" in message
    assert "Write `schema: evolve`" in message


def test_freeze_rejects_a_wider_type() -> None:
    frozen = replace(TABLE, schema="freeze")
    assert "ID: expected NUMBER(10,0), actual NUMBER(12,0)" in drift(
        "id NUMBER(10,0)", extract("id NUMBER(12,0)"), frozen
    )


def test_a_renamed_column_is_rejected() -> None:
    message = drift("id NUMBER(10,0), a DATE", extract("id NUMBER(10,0), b DATE"))
    assert message.startswith("A column was renamed, or one dropped and another added: ")
    assert "A: expected DATE, actual none; B: expected none, actual DATE" in message


def test_a_dropped_column_stays_and_is_reported_until_it_returns() -> None:
    dropped = learn(shape_of("id NUMBER(10,0), a DATE"), extract("id NUMBER(10,0)"), TABLE, TARGET)
    assert dropped.dropped == {"A"}
    assert len(dropped.columns) == 2
    assert not learn(dropped, extract("id NUMBER(10,0), a DATE", "3"), TABLE, TARGET).dropped


def test_a_column_that_appears_after_another_was_dropped_is_not_renamed() -> None:
    assert list(after("id DATE, a DATE", extract("id DATE", "2"), extract("id DATE, b DATE", "3"))) == ["id", "a", "b"]


def test_parquet_of_others_is_compared_by_kind_and_csv_by_name() -> None:
    before = "id NUMBER(10,0), a VARCHAR(5), n NUMBER(8,2)"
    kinds = extract("ID NUMBER(38,0), A VARCHAR, N FLOAT", detail="kinds")
    names = extract("ID VARCHAR, A VARCHAR, N VARCHAR", detail="names")
    assert after(before, kinds, names) == {"id": "NUMBER(10,0)", "a": "VARCHAR(5)", "n": "NUMBER(8,2)"}
    assert "A: expected VARCHAR(5), actual number" in drift(before, extract("id NUMBER(38,0), a FLOAT", detail="kinds"))


def test_a_column_of_nulls_fits_every_type() -> None:
    nulls = ObjectColumns((SourceColumn("id", "null", "", is_sized=False),), "kinds", "2")
    assert after("id NUMBER(10,0)", nulls) == {"id": "NUMBER(10,0)"}


def test_a_file_without_the_key_is_rejected() -> None:
    with pytest.raises(RejectedObjectError, match="The key column id is missing") as raised:
        learn(Shape(), extract("a DATE"), TABLE, TARGET)
    assert raised.value.code == "missing_column"


def test_columns_that_meet_in_upper_case_are_rejected() -> None:
    with pytest.raises(RejectedObjectError, match="The columns A are there twice"):
        learn(Shape(), extract("id DATE, a DATE, A DATE"), TABLE, TARGET)


def test_a_column_named_like_one_of_the_platform_is_rejected() -> None:
    with pytest.raises(RejectedObjectError, match="The platform has columns named _BATCH_ID"):
        learn(Shape(), extract("id DATE, _batch_id DATE"), TABLE, TARGET)


def test_a_personal_column_that_is_not_there_is_refused_as_it_would_not_be_masked() -> None:
    with pytest.raises(ConfigurationError, match=r"orders.personal: emial is not a column.*the columns are ID, EMAIL"):
        require_columns(replace(TABLE, personal=("emial",)), shape_of("id NUMBER(10,0), email VARCHAR"))


SIZES = st.integers(1, 38)


@given(st.lists(SIZES, min_size=1), st.sampled_from(["NUMBER({},0)", "VARCHAR({})"]))
def test_a_column_is_as_wide_as_the_widest_accepted_object(sizes: list[int], form: str) -> None:
    shape, accepted = Shape(), []
    for version, size in enumerate(sizes):
        found = ObjectColumns((SourceColumn("id", "", form.format(size)),), "types", f"{version:04}")
        try:
            shape = learn(shape, found, TABLE, TARGET)
            accepted.append(size)
        except RejectedObjectError:
            assert size < max(accepted)
    assert [column.physical_type for column in shape.columns] == [form.format(max(accepted))]
    assert accepted == sorted(accepted)


@given(st.permutations(range(5)))
def test_any_order_of_growing_objects_gives_the_same_columns(order: list[int]) -> None:
    objects = [
        extract(", ".join(["id DATE", *(f"c{n} NUMBER({n + 2},0)" for n in range(k))]), str(k)) for k in range(5)
    ]
    shape = Shape()
    for number in order:
        shape = learn(shape, objects[number], TABLE, TARGET)
    assert {c.name: c.physical_type for c in shape.columns} == {c.name: c.physical_type for c in objects[-1].columns}
