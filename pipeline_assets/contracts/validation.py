"""Validation predicates derived from a contract, in Snowflake SQL over text.

Landed values arrive as text. For each column there is an expression that cleans the text, one that types it, and the
rules that a row must keep, in the order in which they are reported. They are Snowflake SQL like everything in sql/, and
transpiled for the engine that runs them. A cast alone does not decide, because engines disagree on what it accepts
(`1e3`, `1_000`, a two-digit year) and all round silently; texts that the patterns accept are cast alike everywhere.
Regular expressions cost more than all else, so they run only on texts for which no cheaper test is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipeline_assets.contracts.ddl import literal
from pipeline_assets.contracts.model import DATE_PATTERNS, TIMED_DATE, YEAR_PATTERN, Column, Contract
from pipeline_assets.contracts.names import sql_name
from pipeline_assets.errors import ContractError

DOES_NOT_FIT = "does_not_fit"
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
    "manifest_mismatch": "the whole archive: its members are not what its manifest states",
    "schema_drift": "the whole file: its columns are not those of its table, or are narrower",
    "source_error": "the record is an error answer of the source",
    DOES_NOT_FIT: "a value that is computed from the record does not fit the column of a table",
    "archive_not_zip": "the whole archive: it is not a zip archive",
    "archive_truncated": "the whole archive: its end, or bytes within it, are missing",
    "archive_damaged": "the whole archive: its directory cannot be read",
    "archive_corrupt_data": "the whole archive: the data of a file cannot be inflated",
    "archive_checksum_mismatch": "the whole archive: the checksum of a file is wrong",
    "archive_multi_disk": "the whole archive: it is one part of several",
    "archive_zip64_mismatch": "the whole archive: values of zip64 contradict others",
    "archive_ambiguous_end": "the whole archive: more than one record could be its end",
    "archive_stray_bytes": "the whole archive: bytes in it belong to no entry",
    "archive_overlap": "the whole archive: two entries share bytes",
    "archive_header_mismatch": "the whole archive: its directory and the header of a file disagree",
    "archive_size_mismatch": "the whole archive: a file has another size than the archive states",
    "archive_encrypted": "the whole archive: a file is encrypted",
    "archive_unsupported_method": "the whole archive: a file is neither stored nor deflated",
    "archive_special_file": "the whole archive: an entry is a link, a device or another special file",
    "archive_too_many_entries": "the whole archive: it has more entries than the limit",
    "archive_too_many_bytes": "the whole archive: it expands to more bytes than the limit",
    "archive_extreme_ratio": "the whole archive: its data expands by more than the limit",
    "archive_path_traversal": "the whole archive: a name leads out of the folder",
    "archive_absolute_name": "the whole archive: a name starts at the root",
    "archive_drive_letter": "the whole archive: a name has a drive letter",
    "archive_backslash": "the whole archive: a name has a backslash",
    "archive_control_character": "the whole archive: a name has a control character",
    "archive_unusable_name": "the whole archive: a name is empty, too long, reserved or not UTF-8",
    "archive_duplicate_name": "the whole archive: two entries have one name",
    "archive_colliding_name": "the whole archive: two names differ only in case or Unicode normalization",
    "archive_file_as_folder": "the whole archive: an entry is both a file and a folder",
}
MISTYPED = "_MISTYPED"
FLOATS = "_FLOATS"  # the number of values in a row that are written as floats
BLANKS = " \t\u00a0"  # around values that are no texts
_EXPONENT_PATTERN = "^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)[eE][+-]?0*[0-9]{1,2}$"
_FLOAT_PATTERN = "^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?0*[0-9]{1,2})?$"
# A double with round-off in its last bits needs 15 digits or more to be written.
_LONG_PATTERN = "^[+-]?[0.]*[1-9]([.]?[0-9]){14,}[.]?([eE].*)?$"
_ANY_FLOAT_PATTERN = "^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"
_NONZERO_PATTERN = "^[+-]?[0.]*[1-9].*$"
_LARGEST_DOUBLE = "1.7976931348623157e308"
_DOUBLE_ROUND_OFF = "1e-12"  # relative, and absolute below 1: sums of a few thousand doubles stay below it
_SINGLE_ROUND_OFF = "1e-8"  # a single precision float is written with 9 digits or more
_SINGLE_DIGITS = 7  # that a single precision float can stand for
_MOST_EXPONENT = 99
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
    """Every reason code with its meaning: the platform's own and those of references in the contracts.

    Raises:
        ContractError: two contracts mean different things by one code.
    """
    codes = dict(REASON_CODES)
    for contract in contracts:
        for reference in (column.reference for column in contract.columns):
            if reference and reference.meaning:
                meaning = codes.setdefault(reference.reason_code, reference.meaning)
                if meaning != reference.meaning:
                    raise ContractError(
                        f"{contract.name}: reasonCode {reference.reason_code} has another meaning already: {meaning}.",
                        remedy="Choose a code of its own.",
                    )
    return codes


def text_column(name: str) -> str:
    """The name of the cleaned text of a column in the generated query."""
    return sql_name(f"{name}__TEXT")


def cast_column(name: str) -> str:
    """The name of `try_cast` of a column in the generated query."""
    return sql_name(f"{name}__CAST")


def _digits_column(name: str) -> str:
    return sql_name(f"{name}__DIGITS")


def _nearest_column(name: str) -> str:
    return sql_name(f"{name}__NEAREST")


def cleaned(
    column: Column, raw: str, null_text: str | None = None, *, trimmed: bool = False, typed_row: str = ""
) -> str:
    """Blank text becomes NULL, and so does `null_text`; blanks around a value are removed unless `keep_blanks` is set.

    A blank is a space, as for Snowflake's TRIM, and around a number, a day or a truth value also a tab or a no-break
    space; naming them to TRIM makes all engines remove the same.

    `trimmed` says that no value of the file has blanks around it: TRIM would cost as much as reading the file.
    `typed_row` is a predicate: whether the values of a row were typed in its file. Such a text stays as it is, but an
    empty one is not a key.
    """
    blanks = " " if column.logical_type == "string" else BLANKS
    text = f"NULLIF({raw}, '')" if column.keep_blanks or trimmed else f"NULLIF(TRIM({raw}, '{blanks}'), '')"
    if null_text is not None:
        text = f"NULLIF({text}, {literal(null_text)})"
    if not typed_row:
        return text
    kept = f"NULLIF({raw}, '')" if column.key or column.reference else raw
    return kept if typed_row == "TRUE" else f"CASE WHEN {typed_row} THEN {kept} ELSE {text} END"


def layers(contract: Contract) -> list[list[str]]:
    """Columns to add to the cleaned texts, layer by layer; the last one has the typed values, NULL if a text is wrong.

    A number is cast first. If the cast starts with the text (10.5 and 10.5000) it is exact, and nothing else is
    computed of it: `<COLUMN>__DIGITS` and `<COLUMN>__NEAREST` are NULL.
    """
    casted = [column for column in contract.columns if column.logical_type in ("number", "integer")]
    casts = [f"{try_cast(column)} AS {cast_column(column.name)}" for column in casted]
    numbers = [column for column in casted if not column.is_float]
    digits = [f"{_digits(column)} AS {_digits_column(column.name)}" for column in numbers]
    nearest = [f"TRY_CAST({_digits_column(c.name)} AS {c.physical_type}) AS {_nearest_column(c.name)}" for c in numbers]
    return [casts, digits, nearest, [f"{typed(column)} AS {sql_name(column.name)}" for column in contract.columns]]


def typed(column: Column) -> str:
    """The expression that types cleaned text: NULL where the text does not fit, never a rounded guess."""
    name, text = column.name, text_column(column.name)
    if column.is_float:
        return _float(text, cast_column(name))
    match column.logical_type:
        case "number" | "integer":
            digits, nearest = _digits_column(name), _nearest_column(name)
            exact = f"REGEXP_LIKE({digits}, {literal(number_pattern(column))})"
            floats = f" WHEN {_stands_for_decimal(column)} THEN {nearest}" if column.writes_floats else ""
            return f"CASE WHEN {digits} IS NULL THEN {cast_column(name)} WHEN {exact} THEN {nearest}{floats} END"
        case "date":
            return _first_date(column, text)
        case "timestamp":
            return f"CASE WHEN REGEXP_LIKE({text}, {literal(timestamp_pattern(column))}) THEN {try_cast(column)} END"
        case "boolean":
            # Compared, not cast: the cast becomes a function that Spark does not have.
            return f"CASE WHEN REGEXP_LIKE({text}, {literal(BOOLEAN_PATTERN)}) THEN LOWER({text}) = 'true' END"
        case _:
            return text


def _float(text: str, cast: str) -> str:
    """The double nearest to a text; NULL for one beyond the largest, and for one so small that only zero is left."""
    return (
        f"CASE WHEN REGEXP_LIKE({text}, {literal(_ANY_FLOAT_PATTERN)}) "
        f"AND ABS({cast}) <= CAST('{_LARGEST_DOUBLE}' AS DOUBLE) "
        f"AND ({cast} <> 0 OR NOT REGEXP_LIKE({text}, {literal(_NONZERO_PATTERN)})) THEN {cast} END"
    )


def _digits(column: Column) -> str:
    """The text of a number without exponent, or NULL if its cast is exact: engines read exponents differently."""
    text, cast = text_column(column.name), cast_column(column.name)
    precision, scale = column.precision_and_scale
    # The shortcut is not safe for columns without digits before the point (engines differ on whether they write a zero
    # there), nor with more than six decimals (Spark writes small numbers as 1E-10).
    plain = precision > scale and scale <= 6
    shortcut = f"WHEN STARTSWITH(CAST({cast} AS VARCHAR), {text}) THEN NULL " if plain else ""
    exponent = f"WHEN REGEXP_LIKE({text}, {literal(_EXPONENT_PATTERN)}) THEN {_without_exponent(text)}"
    return f"CASE {shortcut}{exponent} ELSE {text} END"


def _without_exponent(text: str) -> str:
    # No LEFT and few SUBSTR: sqlglot repeats their arguments, and DuckDB takes longer to plan this than to run it.
    mantissa = f"LTRIM(SPLIT_PART(LOWER({text}), 'e', 1), '+-')"
    whole = f"(POSITION('.', CONCAT({mantissa}, '.')) - 1)"
    exponent = f"TRY_CAST(LTRIM(SPLIT_PART(LOWER({text}), 'e', 2), '+') AS INT)"
    zeros = f"REPEAT('0', {_MOST_EXPONENT})"
    digits = f"CONCAT({zeros}, REPLACE({mantissa}, '.', ''), {zeros})"
    point = f"({_MOST_EXPONENT} + {whole} + {exponent})"
    sign = f"CASE WHEN STARTSWITH({text}, '-') THEN '-' ELSE '' END"
    return f"CONCAT({sign}, SUBSTR({digits}, 1, {point}), '.', SUBSTR({digits}, {point} + 1))"


def number_pattern(column: Column) -> str:
    """Digits that fit NUMBER(precision, scale) exactly; zeros beyond the scale lose nothing."""
    precision, scale = column.precision_and_scale
    whole = f"[0-9]{{1,{precision - scale}}}" if precision > scale else "0"
    fraction = f"([.][0-9]{{0,{scale}}}0*)?" if scale else "([.]0*)?"
    only_fraction = f"[.][0-9]{{1,{scale}}}0*" if scale else "[.]0+"
    return f"^[+-]?(0*{whole}{fraction}|{only_fraction})$"


def float_count(contract: Contract) -> str:
    """How many values of a row are floats that are read as the decimals that they stand for."""
    return " + ".join(
        f"CASE WHEN {sql_name(c.name)} IS NULL OR {_digits_column(c.name)} IS NULL THEN 0 "
        f"WHEN REGEXP_LIKE({_digits_column(c.name)}, {literal(number_pattern(c))}) THEN 0 ELSE 1 END"
        for c in contract.floats
    )


def _stands_for_decimal(column: Column) -> str:
    """Whether a number is a float that stands for the nearest decimal of the column.

    A double may be off by the round-off of some sums; a single precision float, written with more digits than it has,
    must be the very float of a decimal with as few digits as it can stand for. Nothing else is rounded.
    """
    _, scale = column.precision_and_scale
    text, nearest = text_column(column.name), _nearest_column(column.name)
    value, double = f"TRY_CAST({text} AS DOUBLE)", f"CAST({nearest} AS DOUBLE)"
    is_double = (
        f"REGEXP_LIKE({text}, {literal(_LONG_PATTERN)}) "
        f"AND ABS({value} - {double}) <= CAST('{_DOUBLE_ROUND_OFF}' AS DOUBLE) * GREATEST(ABS({double}), 1) "
        f"AND ABS({value} - {double}) <= CAST('1e-{scale + 2}' AS DOUBLE)"  # else a half could be rounded away
    )
    few_digits = " OR ".join(
        f"(ABS({nearest}) < {10 ** (_SINGLE_DIGITS - decimals)} AND {nearest} = ROUND({nearest}, {decimals}))"
        for decimals in range(min(scale, _SINGLE_DIGITS) + 1)
    )
    single = f"CAST(CAST({double} AS REAL) AS DOUBLE)"
    is_single = f"ABS({value} - {single}) <= CAST('{_SINGLE_ROUND_OFF}' AS DOUBLE) * ABS({value}) AND ({few_digits})"
    return f"REGEXP_LIKE({text}, {literal(_FLOAT_PATTERN)}) AND (({is_double}) OR ({is_single}))"


def timestamp_pattern(column: Column) -> str:
    """Date and time of day that fit TIMESTAMP_NTZ(digits) exactly; values with an offset do not match."""
    digits = column.physical_type.partition("(")[2].rstrip(")")
    time = f"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{{0,{digits}}}0*)?)?"
    return f"^{YEAR_PATTERN}-[0-9]{{2}}-[0-9]{{2}}([ Tt]{time})?$"


def rules(contract: Contract) -> tuple[Rule, ...]:
    """Every rule of the contract, most specific first: JSON types, keys, required values, types, lists, lengths.

    For JSON, the reader of the records puts the number of the first mistyped column (the list counts as the last) into
    `MISTYPED`.
    """
    contract_rules: list[Rule] = [
        replace(rule, code=column.reason_code)
        for column in contract.columns
        if column.reason_code
        for rule in _value_limits(column)
    ]
    if contract.form == "json":
        names = [*contract.column_names, *((contract.items.path[-1].upper(),) if contract.items else ())]
        for number, name in enumerate(names, 1):
            expectation = "a text or a number" if number <= len(contract.columns) else "a list of objects"
            broken, suspect = f"{MISTYPED} = {number}", f"{MISTYPED} IS NOT NULL"
            contract_rules.append(Rule("wrong_type", name, expectation, broken, suspect))
    for column in sorted(contract.columns, key=lambda column: not column.key):
        if column.required:
            code = "missing_key" if column.key or column.reference else "missing_value"
            contract_rules.append(_rule(code, column, "a value", f"{text_column(column.name)} IS NULL"))
    for column in contract.columns:
        contract_rules.extend(_value_rules(column))
    return tuple(contract_rules)


def _value_rules(column: Column) -> list[Rule]:
    text, column_rules = text_column(column.name), []
    kinds = {
        "number": ("not_a_number", f"a number that fits {column.physical_type}"),
        "integer": ("not_a_number", f"a whole number that fits {column.physical_type}"),
        "date": ("not_a_date", f"a date as {' or '.join(_displayed_format(form) for form in column.input_formats)}"),
        "timestamp": ("not_a_timestamp", "a timestamp as YYYY-MM-DD HH:MM:SS, in UTC, without a zone"),
        "boolean": ("not_a_boolean", "true or false"),
    }
    if column.logical_type in kinds:
        code, expectation = kinds[column.logical_type]
        column_rules.append(_rule(code, column, expectation, f"{text} IS NOT NULL AND {sql_name(column.name)} IS NULL"))
    if not column.reason_code:
        column_rules += _value_limits(column)
    if column.max_length:
        limit = column.max_length
        # The length in bits needs no counting of characters. Without the CAST sqlglot asks for the type of the text.
        column_rules.append(
            _rule(
                "too_long",
                column,
                f"at most {limit} characters",
                f"LENGTH(CAST({text} AS VARCHAR)) > {limit}",
                suspect=f"BIT_LENGTH({text}) > {8 * limit}",
            )
        )
    return column_rules


def _value_limits(column: Column) -> list[Rule]:
    """The rules that a contract states for the values of a column: a list, a pattern."""
    text, limits = text_column(column.name), []
    if column.accepted:
        values = ", ".join(literal(value) for value in column.accepted)
        limits.append(
            _rule("not_accepted_value", column, f"one of {', '.join(column.accepted)}", f"NOT {text} IN ({values})")
        )
    if column.pattern:
        expectation = f"a text like {' or '.join(column.examples) or column.pattern[2:-2]}"
        broken = f"NOT REGEXP_LIKE({text}, {literal(column.pattern)})"
        limits.append(_rule("not_accepted_value", column, expectation, broken))
    return limits


def _rule(code: str, column: Column, expectation: str, broken: str, suspect: str | None = None) -> Rule:
    return Rule(code, column.name, expectation, broken, suspect or broken)


def try_cast(column: Column) -> str:
    """The engine's own cast of the cleaned text; it may be wrong or rounded until `typed` has confirmed it."""
    text = text_column(column.name)
    # Spark does not read a lower-case t.
    return f"TRY_CAST({f'UPPER({text})' if column.logical_type == 'timestamp' else text} AS {column.physical_type})"


def _first_date(column: Column, text: str) -> str:
    branches = " ".join(
        f"WHEN REGEXP_LIKE({text}, {literal(DATE_PATTERNS[form])}) THEN {_day(text, form)}"
        for form in column.input_formats
    )
    return f"CASE {branches} END"


def _displayed_format(form: str) -> str:
    return "YYYY-MM-DDTHH:MM:SS, with or without an offset" if form == TIMED_DATE else form


def _day(text: str, form: str) -> str:
    if form == TIMED_DATE:
        return f"TRY_TO_DATE(LEFT({text}, 10), 'YYYY-MM-DD')"
    if re.search(r"\bD\b", form):  # of one or two digits, which engines do not all read
        separator = "-" if "-" in form else "/"
        parts = {name: f"SPLIT_PART({text}, '{separator}', {n})" for n, name in enumerate(form.split(separator), 1)}
        return (
            f"TRY_TO_DATE(CONCAT({parts['YYYY']}, '-', LPAD({parts['M']}, 2, '0'), '-', LPAD({parts['D']}, 2, '0')), "
            "'YYYY-MM-DD')"
        )
    return f"TRY_TO_DATE({text}, {literal(form)})"
