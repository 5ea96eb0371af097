"""Validation rules, run by DuckDB and compared with plain Python.

The rules are Snowflake SQL; the model below says in Python what they promise, and hypothesis looks for text on which
the two disagree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal, localcontext

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.arrow import arrow_schema, lake_schema
from pipeline_assets.contracts.ddl import target_table
from pipeline_assets.contracts.model import TIMED_DATE
from pipeline_assets.contracts.validation import rules
from pipeline_assets.engine.validation_query import Columns, typed_rows, validation_select
from pipeline_assets.sqlfiles import transpile

CONNECTION = duckdb.connect()


def contract_of(*columns: Column) -> Contract:
    return Contract("things", "THINGS", "1", "shop", "", "", "", columns)


def judge(column: Column, texts: Sequence[str | None]) -> list[tuple[object, str | None]]:
    """(typed value, code of the first broken rule or None) for each text."""
    contract = contract_of(column)
    cases = " ".join(f"WHEN {number} THEN '{rule.code}'" for number, rule in enumerate(rules(contract), 1))
    fault = f"CASE _FAULT {cases} END" if cases else "NULL"
    select = validation_select(contract, Columns({column.name: 0}, (), (), ()), ["N"])
    sql = f"SELECT {column.name}, {fault} AS FAULT FROM ({select}) AS JUDGED ORDER BY N"
    CONNECTION.execute(
        "CREATE OR REPLACE TEMP TABLE RAW AS SELECT UNNEST(RANGE(?)) AS N, UNNEST(?::VARCHAR[]) AS C0",
        [len(texts), list(texts)],
    )
    return CONNECTION.execute(transpile(sql, "duckdb")).fetchall()


def trimmed(text: str, blanks: str = " \t\u00a0") -> str:
    """Without the blanks around it: a number or a day may have tabs and no-break spaces there, a text only spaces."""
    return text.strip(blanks)


# --- numbers -----------------------------------------------------------------------------------------------


def number(text: str, precision: int, scale: int) -> Decimal | None:
    """The number that NUMBER(precision, scale) keeps exactly, or None."""
    if not re.fullmatch(r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)(?:[eE][+-]?[0-9]{1,2})?", text):
        return None
    with localcontext(prec=400):
        value = Decimal(text)
        exact = value == value.quantize(Decimal(1).scaleb(-scale)) and abs(value) < Decimal(10) ** (precision - scale)
    return value if exact else None


NUMBERS = ["NUMBER(18,4)", "NUMBER(12,2)", "NUMBER(38,0)", "NUMBER(38,10)", "NUMBER(3,3)", "NUMBER(1,0)"]
digits = st.text("0123456789", max_size=40)
numberish = st.one_of(
    st.builds(
        "{}{}{}{}".format, st.sampled_from(["", "+", "-", "--"]), digits, st.sampled_from(["", ".", ","]), digits
    ),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["1", "-1.5", ".25", "+12.", "0.0"]),
        st.sampled_from("eE"),
        st.integers(-45, 45),
    ),
    st.text("0123456789.,+-eE_ xNa\u0661\u0662\t\u00a0", max_size=12),
    st.text(max_size=6),
)


@pytest.mark.parametrize("kind", NUMBERS)
@settings(max_examples=25)
@given(texts=st.lists(numberish.filter(lambda text: "\0" not in text), min_size=1, max_size=60))
@example(texts=["1e3", "1_000", "١٢", "NaN", "Infinity", "12,50", "1,000.00", "0x10", "$5", "5-", "", ".", "-", "+"])
@example(texts=["007", "5.", "+5", "-0", "0.1230", "9" * 38, "9" * 39, "0" * 50 + "1", "1." + "0" * 60])
def test_a_number_is_kept_exactly_or_not_at_all(kind: str, texts: list[str]) -> None:
    column = Column("AMOUNT", "number", kind)

    for text, (value, fault) in zip(texts, judge(column, texts), strict=True):
        clean = trimmed(text)
        expected = number(clean, *column.precision_and_scale)
        assert value == expected, text
        assert fault == ("not_a_number" if clean and expected is None else None), text


floatish = st.one_of(
    st.decimals(-(10**9), 10**9, places=4).map(lambda d: (float(d), d)),
    # Sums of amounts, as a program computes them.
    st.lists(st.decimals(0, 10**4, places=2), min_size=2, max_size=60).map(lambda ds: (sum(map(float, ds)), sum(ds))),
)


@settings(max_examples=50)
@given(values=st.lists(floatish, min_size=1, max_size=10))
def test_a_double_stands_for_the_decimal_that_it_was_made_of(values: list[tuple[float, Decimal]]) -> None:
    column = Column("AMOUNT", "number", "NUMBER(18,4)", writes_floats=True)

    assert [value for value, _ in judge(column, [repr(f) for f, _ in values])] == [d for _, d in values]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("32.380001100000001", "32.38"),
        ("32.38000106811523", "32.38"),
        ("0.30000000000000004", "0.3"),
        ("5.551115123125783e-17", "0"),
        ("1.2000000476837158", "1.2"),
    ],
)
def test_a_float_is_read_as_its_decimal_only_where_the_contract_says_so(text: str, expected: str) -> None:
    written, exact = Column("A", "number", "NUMBER(18,4)", writes_floats=True), Column("A", "number", "NUMBER(18,4)")

    assert judge(written, [text]) == [(Decimal(expected), None)]
    assert judge(exact, [text]) == [(None, "not_a_number")]


@pytest.mark.parametrize(
    "text",
    ["0.12345", "1234567.891234", "12345.669921875", "5.00000011", "32.38001", "1.23456e0", "1e-30",
     "99999999999999.99995", "1.00005000000000001", "0.333333333333333314829616256247", "123456789.123456",
     "123456789.12345678"],
)  # fmt: skip
def test_digits_beyond_the_scale_that_are_no_round_off_stay_an_error(text: str) -> None:
    column = Column("AMOUNT", "number", "NUMBER(18,4)", writes_floats=True)

    assert judge(column, [text]) == [(None, "not_a_number")]


@pytest.mark.parametrize(("text", "expected"), [("1.5e003", "1500"), ("25E-0002", "0.25"), ("0e100", None)])
def test_an_exponent_may_have_leading_zeros(text: str, expected: str | None) -> None:
    value = expected and Decimal(expected)

    assert judge(Column("A", "number", "NUMBER(18,4)"), [text]) == [(value, None if expected else "not_a_number")]


def double(text: str) -> float | None:
    """The double that is nearest to a text; None for one beyond the largest, and for one of which only zero is left."""
    if not re.fullmatch(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?", text):
        return None
    value, has_digits = float(text), bool(re.search("[1-9]", re.split("[eE]", text)[0]))
    return None if abs(value) == float("inf") or (value == 0 and has_digits) else value


@settings(max_examples=50)
@given(texts=st.lists(numberish.filter(lambda text: "\0" not in text), min_size=1, max_size=30))
@example(texts=["1.5", "1e-300", "5e-324", "-1.7976931348623157e308", "2.2250738585072014E-308", "-0.0", "0e999"])
@example(texts=["1.8e308", "1e400", "-1e400", "1e-400", "nan", "NaN", "inf", "-Infinity", "1_0", "0x1p3", "1d", "1f"])
def test_a_double_is_kept_exactly_and_is_a_number(texts: list[str]) -> None:
    column = Column("WEIGHT", "number", "FLOAT")
    for text, (value, fault) in zip(texts, judge(column, texts), strict=True):
        expected = double(trimmed(text))
        assert (value, repr(value)) == (expected, repr(expected)), text
        assert fault == (None if expected is not None or not trimmed(text) else "not_a_number"), text


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_the_text_of_a_double_gives_the_very_same_double(values: list[float]) -> None:
    found = judge(Column("WEIGHT", "number", "FLOAT"), [repr(value) for value in values])
    assert [repr(value) for value, _ in found] == list(map(repr, values))


# --- dates -------------------------------------------------------------------------------------------------

DATES = {
    "YYYY-MM-DD": (r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})", "{y}-{m}-{d}"),
    "DD-MM-YYYY": (r"(?P<d>[0-9]{2})-(?P<m>[0-9]{2})-(?P<y>[0-9]{4})", "{d}-{m}-{y}"),
    "MM/DD/YYYY": (r"(?P<m>[0-9]{2})/(?P<d>[0-9]{2})/(?P<y>[0-9]{4})", "{m}/{d}/{y}"),
    "DD/MM/YYYY": (r"(?P<d>[0-9]{2})/(?P<m>[0-9]{2})/(?P<y>[0-9]{4})", "{d}/{m}/{y}"),
    "YYYYMMDD": (r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})", "{y}{m}{d}"),
    "YYYY/MM/DD": (r"(?P<y>[0-9]{4})/(?P<m>[0-9]{2})/(?P<d>[0-9]{2})", "{y}/{m}/{d}"),
    "YYYY-M-D": (r"(?P<y>[0-9]{4})-(?P<m>[0-9]{1,2})-(?P<d>[0-9]{1,2})", "{y}-{m}-{d}"),
    "D-M-YYYY": (r"(?P<d>[0-9]{1,2})-(?P<m>[0-9]{1,2})-(?P<y>[0-9]{4})", "{d}-{m}-{y}"),
    "M/D/YYYY": (r"(?P<m>[0-9]{1,2})/(?P<d>[0-9]{1,2})/(?P<y>[0-9]{4})", "{m}/{d}/{y}"),
    "D/M/YYYY": (r"(?P<d>[0-9]{1,2})/(?P<m>[0-9]{1,2})/(?P<y>[0-9]{4})", "{d}/{m}/{y}"),
    "YYYY/M/D": (r"(?P<y>[0-9]{4})/(?P<m>[0-9]{1,2})/(?P<d>[0-9]{1,2})", "{y}/{m}/{d}"),
}


def day(text: str, formats: Sequence[str]) -> date | None:
    """The date by the first format that fits the text's shape; no second guess."""
    for form in formats:
        if fit := re.fullmatch(DATES[form][0], text):
            try:
                return date(int(fit["y"]), int(fit["m"]), int(fit["d"]))
            except ValueError:
                return None
    return None


dateish = st.one_of(
    st.builds(
        lambda form, d, m, y: DATES[form][1].format(d=d, m=m, y=y),
        st.sampled_from(list(DATES)),
        st.one_of(st.integers(0, 32).map("{:02}".format), st.integers(0, 32).map(str)),
        st.one_of(st.integers(0, 13).map("{:02}".format), st.integers(0, 13).map(str)),
        st.one_of(st.integers(0, 9999).map("{:04}".format), st.integers(0, 99).map("{:02}".format)),
    ),
    st.text("0123456789-/ ", max_size=12),
)


@pytest.mark.parametrize(
    "formats",
    [
        ("YYYY-MM-DD",),
        ("DD-MM-YYYY", "YYYY-MM-DD"),
        ("MM/DD/YYYY", "DD/MM/YYYY"),
        ("YYYYMMDD",),
        ("DD-MM-YYYY", "YYYY-MM-DD", "D-M-YYYY", "YYYY-M-D", "YYYY/MM/DD", "YYYY/M/D"),
        ("D/M/YYYY",),
        ("M/D/YYYY",),
    ],
    ids=" ".join,
)
@settings(max_examples=25)
@given(texts=st.lists(dateish, min_size=1, max_size=60))
@example(texts=["31-02-2020", "29-02-2020", "29-02-2021", "2020-02-30", "24-05-05", "05-24-2020", "2020-5-1"])
@example(texts=["0000-00-00", "0000-01-01", "01-01-0000", "0001-01-01", "9999-12-31", "2020-01-01 00:00", "12/13/2020"])
def test_a_date_is_a_day_of_the_calendar_in_an_accepted_format(formats: tuple[str, ...], texts: list[str]) -> None:
    column = Column("DAY", "date", "DATE", input_formats=formats)

    for text, (value, fault) in zip(texts, judge(column, texts), strict=True):
        expected = day(trimmed(text), formats)
        assert value == expected, text
        assert fault == ("not_a_date" if trimmed(text) and expected is None else None), text


# --- timestamps and booleans -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-29", "2024-02-29 00:00:00"),
        ("2024-02-29T23:59", "2024-02-29 23:59:00"),
        ("2024-02-29 23:59:58", "2024-02-29 23:59:58"),
        ("2024-02-29 23:59:58.123456", "2024-02-29 23:59:58.123456"),
        ("2024-02-29 23:59:58.123456000", "2024-02-29 23:59:58.123456"),
    ],
)
def test_a_timestamp_is_read_to_the_microsecond(text: str, expected: str) -> None:
    ((value, fault),) = judge(Column("HAPPENED_AT", "timestamp", "TIMESTAMP_NTZ(6)"), [text])

    assert (str(value), fault) == (expected, None)


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-29 23:59:58.1234567",  # would be rounded: FAULTS 22
        "2024-02-29T23:59:58+02:00",  # DuckDB would shift it, Snowflake would drop the offset
        "2024-02-29T23:59:58Z",
        "2024-02-29 24:00:00",
        "2024-02-30 10:00:00",
        "0000-00-00 00:00:00",
        "infinity",
        "epoch",
        "10:00",
    ],
)
def test_a_timestamp_that_would_have_to_be_guessed_is_set_aside(text: str) -> None:
    assert judge(Column("HAPPENED_AT", "timestamp", "TIMESTAMP_NTZ(6)"), [text]) == [(None, "not_a_timestamp")]


def test_a_boolean_is_true_or_false_and_nothing_that_engines_read_differently() -> None:
    column = Column("FLAG", "boolean", "BOOLEAN")

    assert judge(column, ["true", "FALSE", " True "]) == [(True, None), (False, None), (True, None)]
    assert judge(column, ["1", "t", "yes", "on", "2", "untrue"]) == [(None, "not_a_boolean")] * 6


# --- text --------------------------------------------------------------------------------------------------


def test_blanks_around_a_name_are_trimmed_and_a_blank_name_is_none() -> None:
    name = Column("NAME", "string", "VARCHAR")

    assert judge(name, ["  Ada  ", " Ada L. ", "   ", "", None]) == [
        ("Ada", None),
        ("Ada L.", None),
        (None, None),
        (None, None),
        (None, None),
    ]


def test_blanks_of_free_text_are_kept_to_the_last() -> None:
    text = Column("NOTE", "string", "VARCHAR", keep_blanks=True)

    assert judge(text, ["  a\nb  ", " ", ""]) == [("  a\nb  ", None), (" ", None), (None, None)]


@given(texts=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_nothing_else_of_a_text_changes(texts: list[str]) -> None:
    found = judge(Column("NAME", "string", "VARCHAR"), texts)

    assert [value for value, _ in found] == [trimmed(text, " ") or None for text in texts]


def test_a_required_value_is_missing_when_blank() -> None:
    assert judge(Column("ID", "string", "VARCHAR", required=True, key=True), [" "]) == [(None, "missing_key")]
    assert judge(Column("STATUS", "string", "VARCHAR", required=True), [" "]) == [(None, "missing_value")]


def test_a_list_of_accepted_values_is_exact() -> None:
    status = Column("STATUS", "string", "VARCHAR", accepted=("open", "it's", "back\\slash"))

    assert [fault for _, fault in judge(status, ["open", " open", "it's", "back\\slash", None])] == [None] * 5
    assert [fault for _, fault in judge(status, ["OPEN", "opened", "it", "x'; --"])] == ["not_accepted_value"] * 4


def test_length_counts_characters_not_bytes() -> None:
    code = Column("CODE", "string", "VARCHAR(3)", max_length=3)

    assert [fault for _, fault in judge(code, ["äöü", "🦆🦆🦆", "abc  "])] == [None] * 3
    assert [fault for _, fault in judge(code, ["äöüß", "🦆🦆🦆🦆"])] == ["too_long"] * 2


def test_a_missing_key_is_reported_before_anything_else() -> None:
    """One record has one reason: the one that tells most."""
    amount = Column("AMOUNT", "number", "NUMBER(18,4)", required=True)
    key = Column("ID", "string", "VARCHAR(3)", required=True, key=True, max_length=3)

    assert [rule.code for rule in rules(contract_of(amount, key))] == [
        "missing_key",
        "missing_value",
        "not_a_number",
        "too_long",
    ]


def test_every_type_of_a_contract_has_an_arrow_type_that_keeps_it() -> None:
    columns = (
        Column("A", "number", "NUMBER(18,4)"),
        Column("B", "date", "DATE"),
        Column("C", "timestamp", "TIMESTAMP_NTZ(6)"),
        Column("D", "boolean", "BOOLEAN"),
        Column("E", "string", "VARCHAR(8)"),
    )

    schema = arrow_schema(target_table(contract_of(*columns)), ("A", "B", "C", "D", "E"))

    assert [str(kind) for kind in schema.types] == [
        "decimal128(18, 4)",
        "date32[day]",
        "timestamp[us]",
        "bool",
        "string",
    ]


# --- dates with a time of day ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "time", ["00:00", "23:59", "23:59:59", "23:59:60", "10:00:00.1234567", "10:00:00,5", "10:00Z", "10:00z"]
)
@pytest.mark.parametrize("between", ["T", " "])
def test_the_day_of_a_moment_is_the_one_that_its_own_clock_showed(time: str, between: str) -> None:
    column = Column("DAY", "date", "DATE", input_formats=(TIMED_DATE,))
    offsets = ["", "+14:00", "-11:00", "+0530", "-03"] if not time.upper().endswith("Z") else [""]

    texts = [f"2024-02-29{between}{time}{offset}" for offset in offsets]

    assert judge(column, texts) == [(date(2024, 2, 29), None)] * len(texts)


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-29",
        "2024-02-29T24:00:00",
        "2024-02-29T25:00",
        "2024-02-29T10:60",
        "2024-02-29T10:00:61",
        "2024-02-29T1:00",
        "2024-02-29T10",
        "2024-02-29T10:00:00.",
        "2024-02-29T10:00+1",
        "2024-02-29T10:00 UTC",
        "2024-02-29T10:00  Z",
        "2023-02-29T10:00",
        "0000-01-01T10:00",
        "24-02-29T10:00",
        "2024-02-29T10:00\n",
        "on 2024-02-29T10:00",
    ],
)
def test_a_moment_that_no_clock_shows_is_set_aside(text: str) -> None:
    column = Column("DAY", "date", "DATE", input_formats=(TIMED_DATE,))

    assert judge(column, [text]) == [(None, "not_a_date")]


# --- suspects ----------------------------------------------------------------------------------------------

TYPED = (
    Column("C", "string", "VARCHAR(3)", max_length=3, required=True),
    Column("C", "string", "VARCHAR", accepted=("a", "it's")),
    Column("C", "number", "NUMBER(5,2)", required=True, key=True),
    Column("C", "date", "DATE", input_formats=("DD-MM-YYYY", TIMED_DATE)),
    Column("C", "timestamp", "TIMESTAMP_NTZ(3)"),
    Column("C", "boolean", "BOOLEAN"),
)


@pytest.mark.parametrize("column", TYPED, ids=lambda column: column.physical_type)
@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.one_of(numberish, dateish, st.text("aä🦆 ", max_size=5)).filter(lambda t: "\0" not in t)))
@example(texts=["abcd", "äöüß", "🦆🦆🦆🦆", "", "123456", "1.234", "32-01-2024", "2024-01-01T24:00", "x"])
def test_no_broken_row_escapes_the_cheaper_test(column: Column, texts: list[str]) -> None:
    """Engines try `broken` on those rows alone that are `suspect`."""
    for rule in rules(contract_of(column)):
        typed = typed_rows(contract_of(column), Columns({"C": 0}, (), (), ()), [])
        sql = f"SELECT COUNT(*) FROM {typed} WHERE ({rule.broken}) AND NOT COALESCE({rule.suspect}, FALSE)"
        CONNECTION.execute("CREATE OR REPLACE TEMP TABLE RAW AS SELECT UNNEST(?::VARCHAR[]) AS C0", [texts])
        assert CONNECTION.execute(transpile(sql, "duckdb")).fetchone() == (0,), rule


def test_files_of_a_lake_table_have_lower_case_names_exact_types_and_no_partition() -> None:
    kinds = {"string": "STRING", "number": "DOUBLE", "integer": "BIGINT", "date": "DATE", "boolean": "BOOLEAN"}
    columns = [Column(logical.upper(), logical, physical) for logical, physical in kinds.items()]

    schema = lake_schema(contract_of(*columns, Column("DT", "date", "DATE", partition=True)))

    assert {field.name: str(field.type) for field in schema} == {
        "string": "string",
        "number": "double",
        "integer": "int64",
        "date": "date32[day]",
        "boolean": "bool",
    }
