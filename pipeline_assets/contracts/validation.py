"""Validation predicates derived from a contract, in Snowflake SQL over text.

Landed values arrive as text. For each column there is an expression that cleans the text, one that types it,
and the rules a row must keep, in the order in which they are reported. They are written in Snowflake's
dialect like everything in sql/, and transpiled for the engine that runs them.

A cast alone is never believed, because engines disagree on what it accepts (`1e3`, `1_000`, a two-digit year) and
agree on rounding silently; what the patterns let through, all cast alike. As a regular expression costs more than
all else, it is kept for the texts that no cheaper test settles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline_assets.contracts.ddl import literal
from pipeline_assets.contracts.model import DATE_PATTERNS, TIMED_DATE, YEAR_PATTERN, Column, Contract
from pipeline_assets.errors import ContractError

REASON_CODES = {
    "missing_key": "a key column is empty",
    "missing_value": "a required column is empty",
    "not_a_number": "the text is no number, or has more digits than the column keeps",
    "not_a_date": "the text is no date in an accepted format",
    "not_a_timestamp": "the text is no timestamp",
    "not_a_boolean": "the text is neither true nor false",
    "not_accepted_value": "the value is not in the accepted list",
    "wrong_type": "the JSON value is an object, a list or true/false where a text or a number belongs, or no list",
    "too_long": "the text is longer than the column",
    "malformed_record": "the record cannot be split into its columns, is no JSON object or names a key twice",
    "missing_reference": "the row refers to something that is not known yet",
    "missing_column": "the whole file: a required column is not there",
    "malformed_header": "the whole file: the header names a column twice",
    "unreadable_object": "the whole file: it cannot be read (truncated, not gzip, not text)",
    "too_many_bad_rows": "the whole file: more rows are bad than the configured share",
    "rejected_with_its_set": "the whole file: another file that was delivered together with it is rejected",
    "source_error": "the record is an error answer of the source",
}
MISTYPED = "_MISTYPED"
BOOLEAN_PATTERN = "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"


@dataclass(frozen=True)
class Rule:
    """`broken` is a Snowflake predicate over cleaned (`<COLUMN>__TEXT`) and typed (`<COLUMN>`) values.

    `suspect` is a cheaper one that is true for every broken row, and for few others.
    """

    code: str
    column: str
    expectation: str
    broken: str
    suspect: str


def reason_codes(contracts: Iterable[Contract]) -> dict[str, str]:
    """Every reason code with its meaning: the platform's own and those that references of the contracts name.

    Raises:
        ContractError: two contracts mean different things by one code.
    """
    found = dict(REASON_CODES)
    for contract in contracts:
        for reference in (column.reference for column in contract.columns):
            if reference and reference.meaning:
                known = found.setdefault(reference.reason_code, reference.meaning)
                if known != reference.meaning:
                    raise ContractError(
                        f"{contract.name}: reasonCode {reference.reason_code} has another meaning already: {known}.",
                        remedy="Choose a code of its own.",
                    )
    return found


def text_column(name: str) -> str:
    """The name under which the cleaned text of a column is known inside the generated query."""
    return f"{name}__TEXT"


def cast_column(name: str) -> str:
    """The name under which `try_cast` of a column is known inside the generated query."""
    return f"{name}__CAST"


def cleaned(column: Column, raw: str, null_text: str | None = None, *, tidy: bool = False) -> str:
    """Blank becomes NULL, and so does `null_text`; blanks around names, codes and keys go, those of free text stay.

    A blank is a space, as it is to Snowflake's TRIM; told what to take away, all engines take the same.

    `tidy` says that there is none to take away in the whole file: TRIM would cost as much as reading it.
    """
    text = f"NULLIF({raw}, '')" if column.keep_blanks or tidy else f"NULLIF(TRIM({raw}, ' '), '')"
    return text if null_text is None else f"NULLIF({text}, {literal(null_text)})"


def typed(column: Column, cast: str | None = None) -> str:
    """The expression that types cleaned text: NULL where the text does not fit, never a rounded guess.

    `cast` names a column that holds `try_cast` already.
    """
    text, cast = text_column(column.name), cast or try_cast(column)
    match column.logical_type:
        case "number" | "integer":
            precision, scale = column.precision_and_scale
            # A text with which the number's own text starts is exact: 10.5 and 10.5000. Not where nothing may stand
            # before the point, as engines differ on whether a zero is written there.
            # Nor with more than six decimals, as Spark writes small ones of those as 1E-10.
            plain = precision > scale and scale <= 6
            shortcut = f"WHEN STARTSWITH(CAST({cast} AS VARCHAR), {text}) THEN {cast} " if plain else ""
            return f"CASE {shortcut}WHEN REGEXP_LIKE({text}, {literal(number_pattern(column))}) THEN {cast} END"
        case "date":
            return _first_date(column, text)
        case "timestamp":
            return f"CASE WHEN REGEXP_LIKE({text}, {literal(timestamp_pattern(column))}) THEN {cast} END"
        case "boolean":
            # Said by hand, as the cast becomes a function that Spark does not have.
            return f"CASE WHEN REGEXP_LIKE({text}, {literal(BOOLEAN_PATTERN)}) THEN LOWER({text}) = 'true' END"
        case _:
            return text


def number_pattern(column: Column) -> str:
    """Digits that fit NUMBER(precision, scale) exactly; zeros beyond the scale lose nothing."""
    precision, scale = column.precision_and_scale
    whole = f"[0-9]{{1,{precision - scale}}}" if precision > scale else "0"
    fraction = f"([.][0-9]{{0,{scale}}}0*)?" if scale else "([.]0*)?"
    return f"^[+-]?0*{whole}{fraction}$"


def timestamp_pattern(column: Column) -> str:
    """Date and time of day that fit TIMESTAMP_NTZ(digits) exactly; an offset would have to be guessed away."""
    digits = column.physical_type.partition("(")[2].rstrip(")")
    time = f"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{{0,{digits}}}0*)?)?"
    return f"^{YEAR_PATTERN}-[0-9]{{2}}-[0-9]{{2}}([ T]{time})?$"


def rules(contract: Contract) -> tuple[Rule, ...]:
    """Every rule of the contract, most telling first: JSON types, keys, required values, types, lists, lengths.

    For JSON, whoever reads the records puts the number of the first mistyped column (the list counts as the last)
    into `MISTYPED`.
    """
    found: list[Rule] = []
    if contract.form == "json":
        names = [*contract.column_names, *((contract.items.path[-1].upper(),) if contract.items else ())]
        for number, name in enumerate(names, 1):
            expectation = "a text or a number" if number <= len(contract.columns) else "a list of objects"
            broken, suspect = f"{MISTYPED} = {number}", f"{MISTYPED} IS NOT NULL"
            found.append(Rule("wrong_type", name, expectation, broken, suspect))
    for column in sorted(contract.columns, key=lambda column: not column.key):
        if column.required:
            code = "missing_key" if column.key or column.reference else "missing_value"
            found.append(_rule(code, column, "a value", f"{text_column(column.name)} IS NULL"))
    for column in contract.columns:
        found.extend(_value_rules(column))
    return tuple(found)


def _value_rules(column: Column) -> list[Rule]:
    text, found = text_column(column.name), []
    kinds = {
        "number": ("not_a_number", f"a number that fits {column.physical_type}"),
        "integer": ("not_a_number", f"a whole number that fits {column.physical_type}"),
        "date": ("not_a_date", f"a date as {' or '.join(_told(form) for form in column.input_formats)}"),
        "timestamp": ("not_a_timestamp", "a timestamp as YYYY-MM-DD HH:MM:SS, in UTC, without a zone"),
        "boolean": ("not_a_boolean", "true or false"),
    }
    if column.logical_type in kinds:
        code, expectation = kinds[column.logical_type]
        found.append(_rule(code, column, expectation, f"{text} IS NOT NULL AND {column.name} IS NULL"))
    if column.accepted:
        values = ", ".join(literal(value) for value in column.accepted)
        found.append(
            _rule("not_accepted_value", column, f"one of {', '.join(column.accepted)}", f"NOT {text} IN ({values})")
        )
    if column.max_length:
        limit = column.max_length
        # The length in bits is known at once; characters have to be counted. sqlglot asks for the type without a CAST.
        found.append(
            _rule(
                "too_long",
                column,
                f"at most {limit} characters",
                f"LENGTH(CAST({text} AS VARCHAR)) > {limit}",
                suspect=f"BIT_LENGTH({text}) > {8 * limit}",
            )
        )
    return found


def _rule(code: str, column: Column, expectation: str, broken: str, suspect: str | None = None) -> Rule:
    return Rule(code, column.name, expectation, broken, suspect or broken)


def try_cast(column: Column) -> str:
    """What the engine makes of the cleaned text by itself: a guess, or rounded, until `typed` confirms it."""
    return f"TRY_CAST({text_column(column.name)} AS {column.physical_type})"


def _first_date(column: Column, text: str) -> str:
    branches = " ".join(
        f"WHEN REGEXP_LIKE({text}, {literal(DATE_PATTERNS[form])}) THEN {_day(text, form)}"
        for form in column.input_formats
    )
    return f"CASE {branches} END"


def _told(form: str) -> str:
    return "YYYY-MM-DDTHH:MM:SS, with or without an offset" if form == TIMED_DATE else form


def _day(text: str, form: str) -> str:
    if form == TIMED_DATE:
        return f"TRY_TO_DATE(LEFT({text}, 10), 'YYYY-MM-DD')"
    return f"TRY_TO_DATE({text}, {literal(form)})"
