"""Objects in objects, and objects in the elements of a list: nothing in them is lost without a word."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from pipeline_assets.contracts import Column, Contract
from pipeline_assets_tests.support.engine_session import NEVER, landed, opened, rows


def _text(name: str, *path: str, required: bool = False, key: bool = False) -> Column:
    return Column(name, "string", "VARCHAR", path=path, required=required, key=key)


def _contract(name: str, *columns: Column, items: Contract | None = None, path: tuple[str, ...] = ()) -> Contract:
    return Contract(name, name.upper(), "1", "shop", "", "one row", "", columns, form="json", items=items, path=path)


LINES = _contract("carts_lines", _text("Z", "x", "z"), _text("DEEP", "x", "y", "w"), _text("K", "k"), path=("lines",))
CARTS = _contract(
    "carts",
    _text("ID", "id", required=True, key=True),
    _text("STREET", "c", "a", "s"),
    _text("NAME", "c", "n"),
    items=LINES,
)


def _read(record: dict) -> tuple[list[tuple], list[tuple], list[str]]:
    """Carts, lines and the codes of bad records of one file that holds one record."""
    with tempfile.TemporaryDirectory() as folder, opened(NEVER) as session:
        session.read("carts", CARTS, [landed(Path(folder) / "1.json", json.dumps([record]))])
        session.deduplicate("carts")
        carts = rows(session, "SELECT ID, STREET, NAME, _RESCUED FROM CARTS")
        lines = rows(session, "SELECT Z, DEEP, K, _RESCUED FROM CARTS_LINES ORDER BY _POSITION")
        return carts, lines, [bad.code for bad in session.bad_records("carts")]


def test_values_are_read_at_any_depth() -> None:
    carts, lines, bad = _read(
        {"id": "1", "c": {"a": {"s": "Row 1"}, "n": "Ada"}, "lines": [{"x": {"z": "Z", "y": {"w": "W"}}, "k": "K"}]}
    )

    assert bad == []
    assert carts == [("1", "Row 1", "Ada", None)]
    assert lines == [("Z", "W", "K", None)]


@pytest.mark.parametrize("found", ["Main St", 5, ["x"], True])
def test_what_stands_in_the_place_of_an_inner_object_makes_the_record_bad(found: object) -> None:
    assert _read({"id": "1", "c": {"a": found, "n": "Ada"}, "lines": []})[2] == ["wrong_type"]
    assert _read({"id": "1", "lines": [{"x": found, "k": "K"}]})[2] == ["wrong_type"]
    assert _read({"id": "1", "lines": [{"x": {"z": "Z", "y": found}}]})[2] == ["wrong_type"]


@pytest.mark.parametrize("element", ["x", 5, True, ["x"], None])
def test_an_element_that_is_no_object_makes_the_record_bad_though_nothing_in_it_is_required(element: object) -> None:
    assert _read({"id": "1", "lines": [{"k": "K"}, element]})[2] == ["wrong_type"]


@pytest.mark.parametrize("nothing", [{}, {"a": None}, {"a": {}}, {"a": {"s": None}}])
def test_an_inner_object_may_be_missing_null_or_empty(nothing: dict) -> None:
    carts, lines, bad = _read({"id": "1", "c": nothing, "lines": [{"x": None}, {"x": {"y": None}}, {}]})

    assert bad == []
    assert [street for _, street, *_ in carts] == [None]
    assert lines == [(None, None, None, None)] * 3


def test_an_unknown_key_in_an_object_of_an_element_is_kept_beside_its_line() -> None:
    lines = _read(
        {"id": "1", "lines": [{"x": {"z": "Z", "new": 1.50}}, {"x": {"y": {"w": "W", "new": 2}}}, {"k": "K"}]}
    )[1]

    assert [rescued and json.loads(rescued) for *_, rescued in lines] == [
        {"x": {"z": "Z", "new": 1.5}},
        {"x": {"y": {"w": "W", "new": 2}}},
        None,
    ]
