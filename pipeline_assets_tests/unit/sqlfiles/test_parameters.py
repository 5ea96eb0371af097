"""A value in a statement of the platform is never more than one word of it."""

from __future__ import annotations

import pytest
import sqlglot

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.sqlfiles.parameters import Kind, Name, Null, Number, Text, Texts, render

NASTY = ["", "X; DROP TABLE Y", "X\n", "X Y", 'X"', "X--", "A.B.C.D", "1X", ".X", "X.", "'X'", "Ä"]


@pytest.mark.parametrize("name", NASTY)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="not a name"):
        render("USE ${name}", {"name": Name(name)})


@pytest.mark.parametrize("name", ["X", "x_1", "A.B.C", "_A.B$"])
def test_a_name_stands_as_snowflake_keeps_it(name: str) -> None:
    assert render("USE ${name}", {"name": Name(name)}) == f"USE {name.upper()}"


@pytest.mark.parametrize(
    "kind", ["VARCHAR(8); DROP TABLE Y", "VARCHAR(8) DEFAULT 1", "NUMBER(1,2,3)", "MONEY", "DATE\n"]
)
def test_what_is_no_type_is_refused(kind: str) -> None:
    with pytest.raises(ConfigurationError, match="not a type"):
        render("${kind}", {"kind": Kind(kind)})


@pytest.mark.parametrize("kind", ["VARCHAR", "VARCHAR(8)", "NUMBER(18,4)", "TIMESTAMP_NTZ(6)", "DATE"])
def test_a_type_of_a_contract_stands_as_it_is(kind: str) -> None:
    assert render("${kind}", {"kind": Kind(kind)}) == kind


@pytest.mark.parametrize("text", ["it's", "back\\slash", "'; DROP TABLE Y; --", "${number}", ""])
def test_text_is_one_literal_whatever_stands_in_it(text: str) -> None:
    sql = render("SELECT ${text}, ${texts}, ${number}", {
        "text": Text(text), "texts": Texts((text, "b")), "number": Number(7)
    })  # fmt: skip
    (statement,) = sqlglot.parse(sql, read="snowflake")
    assert statement is not None
    assert [value.name for value in statement.expressions] == [text, text, "b", "7"]


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        render("${number}", {"number": Number("1; DROP TABLE Y")})  # type: ignore[arg-type]


def test_a_place_without_a_value_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"\$\{b\}"):
        render("${a} ${b}", {"a": Null()})
