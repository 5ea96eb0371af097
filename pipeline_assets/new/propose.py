"""Propose columns, types, key and personal data for the records of a sample, each with a reason.

A type is proposed if all values of the sample pass its validation, so that a run accepts what the sample has. If no
type is certain, the column is text, which loses nothing. Identifiers are text, as everywhere in the warehouse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline_assets.contracts import Column
from pipeline_assets.contracts.model import DATE_PATTERNS, TIMED_DATE
from pipeline_assets.contracts.validation import BOOLEAN_PATTERN, number_pattern, timestamp_pattern
from pipeline_assets.engine.formats.parquet.record_sql import kind_of
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.new.names import addressable, column_name, words_of
from pipeline_assets.new.sample import Number, Sample

TEXT_SIZES = (64, 200, 500, 2_000, 10_000, 100_000, 1_000_000, 16_777_216)
_TIMESTAMP = "TIMESTAMP_NTZ(6)"
_MOST_DIGITS = 38
_INTEGER_DIGITS = {
    "TINYINT": 3,
    "SMALLINT": 5,
    "INTEGER": 10,
    "BIGINT": 19,
    "UTINYINT": 3,
    "USMALLINT": 5,
    "UINTEGER": 10,
    "UBIGINT": 20,
}
_IDENTIFIERS = {
    *("ID", "IDS", "KEY", "CODE", "UUID", "GUID", "SKU", "EAN", "ISBN", "IBAN", "BIC", "ZIP", "ZIPCODE", "POSTCODE"),
    *("PHONE", "MOBILE", "FAX", "PHONENUMBER"),
}
_FREE_TEXT = {"ADDRESS", "COMMENT", "COMMENTS", "DESCRIPTION", "MESSAGE", "NOTE", "NOTES", "REMARK", "REMARKS", "TEXT"}
_PERSONAL = {
    *("EMAIL", "MAIL", "PHONE", "PHONENUMBER", "MOBILE", "FAX", "ADDRESS", "STREET", "BIRTH", "BIRTHDAY", "BIRTHDATE"),
    *("DOB", "SURNAME", "FIRSTNAME", "LASTNAME", "FULLNAME", "SSN", "IBAN", "PASSPORT", "GENDER", "NATIONALITY"),
}
_PEOPLE = {
    *("FIRST", "LAST", "FULL", "MIDDLE", "GIVEN", "FAMILY", "MAIDEN", "NICK", "CUSTOMER", "USER", "CONTACT", "PERSON"),
    *("EMPLOYEE", "PATIENT", "GUEST", "AUTHOR", "REVIEWER", "SENDER", "RECIPIENT", "OWNER", "PASSENGER", "STUDENT"),
}
_DATE_WORDS = {"DATE", "DAY", "ON"}
_STRPTIME = {
    "YYYY-MM-DD": "%Y-%m-%d",
    "DD-MM-YYYY": "%d-%m-%Y",
    "MM/DD/YYYY": "%m/%d/%Y",
    "DD/MM/YYYY": "%d/%m/%Y",
    "YYYYMMDD": "%Y%m%d",
}


@dataclass(frozen=True)
class Proposal:
    """A proposed column, the reason for it, and its values in the sample."""

    column: Column
    reason: str
    values: tuple[str | None, ...] = ()

    @property
    def name(self) -> str:
        return self.column.name


@dataclass(frozen=True)
class ListProposal:
    """The one list of objects in JSON records: its key, its name, and the columns of its elements."""

    key: str
    name: str
    columns: tuple[Proposal, ...]


@dataclass(frozen=True)
class Shape:
    """What is proposed for a sample; `left_out` are JSON keys without a column, each with the reason."""

    columns: tuple[Proposal, ...]
    items: ListProposal | None = None
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(proposal.name for proposal in self.columns if proposal.column.key)


def propose(sample: Sample, pipeline: str, key: Sequence[str]) -> Shape:
    """The proposed shape; `key` are the columns that the user named, if any.

    Raises:
        ConfigurationError: `key` does not identify the records of the sample, or there is a nested list but no key.
    """
    shape = _json_shape(sample) if sample.form == "json" else _column_shape(sample)
    if not shape.columns:
        raise ConfigurationError(f"{sample.path.name}: no column can be made of its keys.")
    names = _requested_key(sample, shape, key) if key else _best_key(shape, pipeline)
    if not names and shape.items:
        raise ConfigurationError(
            f"{sample.path.name}: no column identifies a record, which the rows of {shape.items.key} need.",
            remedy="Name the key with --key COLUMN[,COLUMN].",
        )
    reason = "named by --key" if key else "a different value in each record"
    return replace(shape, columns=tuple(_as_key(p, reason) if p.name in names else p for p in shape.columns))


# --- records to columns --------------------------------------------------------------------------------------


def _column_shape(sample: Sample) -> Shape:
    columns = {name: [record[name] for record in sample.records] for name in sample.records[0]}
    return Shape(tuple(_proposal(name, (), values, "", sample.types.get(name, "")) for name, values in columns.items()))


def _json_shape(sample: Sample) -> Shape:
    taken: set[str] = set()
    left_out: list[tuple[str, str]] = []
    lists: list[str] = []
    columns = tuple(_columns(sample.records, (), taken, left_out, lists, ""))
    items = None
    for key in lists:
        elements = [element for record in sample.records for element in record.get(key) or []]
        if items:
            left_out.append((key, "a record can have one list of objects"))
            continue
        name = column_name(key, (), taken)
        item_columns = tuple(_columns(elements, (), taken, left_out, None, name))
        if item_columns and len(name) <= 60:
            items = ListProposal(key, name, item_columns)
        else:
            left_out.append((key, "its elements have no usable keys"))
    return Shape(columns, items, tuple(left_out))


def _columns(
    records: Sequence[dict[str, Any]],
    parents: tuple[str, ...],
    taken: set[str],
    left_out: list[tuple[str, str]],
    lists: list[str] | None,
    prefix: str,
) -> Iterator[Proposal]:
    """The columns of JSON objects and of objects in them; `lists` collects the keys of top-level lists of objects."""
    seen: set[str] = set()
    for key in dict.fromkeys(key for record in records for key in record):
        values = [record.get(key) for record in records]
        kinds = {_kind(value) for value in values if value is not None}
        label = ".".join((*([f"{prefix.lower()}[]"] if prefix else []), *parents, key))
        if not addressable(key):
            left_out.append((label, "a contract cannot name this key"))
        elif key.lower() in seen:
            left_out.append((label, "another key differs from it only in case"))
        elif kinds == {"object"}:
            seen.add(key.lower())
            inner = [value or {} for value in values]
            yield from _columns(inner, (*parents, key), taken, left_out, None, prefix)
        elif kinds == {"objects"} or kinds == {"objects", "empty list"}:
            if lists is None or parents:
                left_out.append((label, "a list inside an object or a list"))
            else:
                seen.add(key.lower())
                lists.append(key)
        elif kinds <= {"text", "boolean"} and len(kinds) < 2:
            seen.add(key.lower())
            yield _proposal(column_name(key, parents, taken, prefix), (*parents, key), values, prefix)
        else:
            left_out.append((label, f"its values are {' or '.join(sorted(kinds))}"))


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        if not value:
            return "empty list"
        return "objects" if all(isinstance(element, dict) for element in value) else "list of values"
    return "boolean" if isinstance(value, bool) else "text"


# --- one column ----------------------------------------------------------------------------------------------


def _proposal(
    name: str, path: tuple[str, ...], values: Sequence[Any], list_name: str = "", type_name: str = ""
) -> Proposal:
    """The proposal for the values of a column; `type_name` is their type in DuckDB, if the file states it."""
    numbers = any(isinstance(value, Number) for value in values)
    texts = tuple(None if value is None else _text(value) for value in values)
    cleaned = [text.strip(" ") or None if text is not None else None for text in texts]
    present = [text for text in cleaned if text is not None]
    missing = len(values) - len(present)
    column, reason = _of_type(name, present, type_name) if type_name else _typed(name, present, numbers)
    required = not missing and bool(present)
    reason += "; never empty" if required else f"; empty in {missing} of {len(values)}" if present else ""
    if personal := _is_personal(name, list_name):
        reason += "; personal by its name"
    keep = column.logical_type == "string" and _is_free_text(name, present)
    column = replace(
        column,
        path=path,
        required=required,
        keep_blanks=keep,
        classification="personal" if personal else None,
    )
    return Proposal(column, reason, tuple(cleaned))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(name: str, values: Sequence[str], json_numbers: bool) -> tuple[Column, str]:
    words = words_of(name)
    if not values:
        return _string(name, values), "text, as it is empty in the whole sample"
    if all(re.fullmatch(BOOLEAN_PATTERN, value) for value in values):
        return Column(name, "boolean", "BOOLEAN"), "true or false"
    if words[-1] in _IDENTIFIERS or _IDENTIFIERS & set(words) & _PERSONAL:
        return _string(name, values), "text, as an identifier or code"
    if not json_numbers or _DATE_WORDS & set(words):
        if formats := _date_formats(values, compact=bool(_DATE_WORDS & set(words))):
            return Column(name, "date", "DATE", input_formats=formats), f"a date as {' or '.join(formats)}"
        timestamp = Column(name, "timestamp", _TIMESTAMP)
        if _all_match(timestamp_pattern(timestamp), values) and all(map(_is_moment, values)):
            return timestamp, "a time without an offset"
    if any(re.match(r"[+-]?0[0-9]", value) for value in values):
        return _string(name, values), "text, as it has leading zeros"
    if number := _number(name, values):
        return number, "whole numbers" if number.logical_type == "integer" else "exact decimals"
    reason = f"text of up to {max(map(len, values))} characters"
    if _all_match(DATE_PATTERNS[TIMED_DATE], values):
        reason = "text, as a time with an offset would have to be converted"
    elif _all_match(DATE_PATTERNS["DD/MM/YYYY"], values):
        reason = "text, as day and month are ambiguous"
    return _string(name, values), reason


def _of_type(name: str, values: Sequence[str], type_name: str) -> tuple[Column, str]:
    """The column for values of one of DuckDB's types; a number that identifies something is text."""
    kind, words = kind_of(type_name), words_of(name)
    stated = f"{type_name} in the file"
    if kind == "boolean":
        return Column(name, "boolean", "BOOLEAN"), stated
    if kind == "date":
        return Column(name, "date", "DATE", input_formats=("YYYY-MM-DD",)), stated
    if kind in ("timestamp", "timestamptz"):
        return Column(name, "timestamp", _TIMESTAMP), f"{stated}{', kept in UTC' * (kind == 'timestamptz')}"
    if kind != "number":
        return _string(name, values), stated
    if words[-1] in _IDENTIFIERS or _IDENTIFIERS & set(words) & _PERSONAL:
        return _string(name, values), "text, as an identifier or code"
    if type_name in ("FLOAT", "DOUBLE"):
        return Column(name, "number", "FLOAT"), stated
    if decimal := re.fullmatch(r"DECIMAL\(([0-9]+),([0-9]+)\)", type_name):
        logical = "number" if int(decimal[2]) else "integer"
        return Column(name, logical, f"NUMBER({decimal[1]},{decimal[2]})"), stated
    return Column(name, "integer", f"NUMBER({_INTEGER_DIGITS.get(type_name, _MOST_DIGITS)},0)"), stated


def _all_match(pattern: str, values: Sequence[str]) -> bool:
    compiled = re.compile(pattern)
    return all(compiled.fullmatch(value) for value in values)


def _number(name: str, values: Sequence[str]) -> Column | None:
    """The column for numbers, with room for larger ones; None if a run would refuse one of the values."""
    widest = Column(name, "number", f"NUMBER({_MOST_DIGITS},0)")
    integer_digits = max((len(value.lstrip("+-").partition(".")[0]) for value in values), default=0)
    if (
        not any("." in value for value in values)
        and integer_digits <= _MOST_DIGITS
        and _all_match(number_pattern(widest), values)
    ):
        return Column(name, "integer", f"NUMBER({18 if integer_digits <= 15 else _MOST_DIGITS},0)")
    scale = max(len(value.partition(".")[2].rstrip("0")) for value in values)
    if scale <= 4 and integer_digits <= 12:
        precision, scale = 18, 4
    else:
        precision, scale = _MOST_DIGITS, max(4, min(scale + 2, _MOST_DIGITS - integer_digits))
    number = Column(name, "number", f"NUMBER({precision},{scale})")
    return number if scale <= precision and _all_match(number_pattern(number), values) else None


def _date_formats(values: Sequence[str], *, compact: bool) -> tuple[str, ...]:
    """The date formats of the values, most frequent first; none if a value has no format or an ambiguous one."""
    possible = [form for form in _STRPTIME if compact or form != "YYYYMMDD"]
    distinct = list(dict.fromkeys(values))
    fits = [frozenset(form for form in possible if _is_date(value, form)) for value in distinct]
    if not all(fits):
        return ()
    certain = {form for forms in fits if len(forms) == 1 for form in forms}
    ambiguous = {forms for forms in fits if len(forms) > 1}
    # 13/02/2024 shows the format of 01/02/2024, unless 02/13/2024 occurs as well.
    if any(len(forms & certain) != 1 for forms in ambiguous) or {"MM/DD/YYYY", "DD/MM/YYYY"} <= certain:
        return ()
    counts = {form: sum(form in forms for forms in fits) for form in certain}
    return tuple(sorted(certain, key=lambda form: (-counts[form], form)))


def _is_date(value: str, form: str) -> bool:
    if not re.fullmatch(DATE_PATTERNS[form], value):
        return False
    try:
        datetime.strptime(value, _STRPTIME[form])  # noqa: DTZ007
    except ValueError:
        return False
    return True


def _is_moment(value: str) -> bool:
    return _is_date(value[:10], "YYYY-MM-DD")


def _string(name: str, values: Sequence[str]) -> Column:
    longest = max(map(len, values), default=100)
    size = next((size for size in TEXT_SIZES if size >= 2 * longest), TEXT_SIZES[-1])
    return Column(name, "string", f"VARCHAR({size})", max_length=size)


def _is_free_text(name: str, values: Sequence[str]) -> bool:
    return bool(_FREE_TEXT & set(words_of(name)[-1:])) or any("\n" in value or "\r" in value for value in values)


def _is_personal(name: str, list_name: str) -> bool:
    words = words_of(name)
    if _PERSONAL & set(words):
        return True
    if words[-1] not in ("NAME", "NAMES"):
        return False
    owner = words[-2] if len(words) > 1 else list_name
    return not owner or bool(_PEOPLE & {owner, owner.removesuffix("S")})


# --- the key -------------------------------------------------------------------------------------------------


def _requested_key(sample: Sample, shape: Shape, key: Sequence[str]) -> tuple[str, ...]:
    by_name = {proposal.name: proposal for proposal in shape.columns}
    by_path = {".".join(p.column.path): p for p in shape.columns if p.column.path}
    chosen = []
    for name in key:
        proposal = by_name.get(name.upper()) or by_path.get(name)
        if proposal is None:
            raise ConfigurationError(f"--key: there is no column {name!r}.", remedy=f"There are {', '.join(by_name)}.")
        if empty := sum(value is None for value in proposal.values):
            raise ConfigurationError(f"--key: {proposal.name} is empty in {empty} of {len(proposal.values)} records.")
        chosen.append(proposal)
    if not _unique(chosen):
        raise ConfigurationError(
            f"--key: {', '.join(p.name for p in chosen)} has the same value in several records of {sample.path.name}.",
            remedy="Add a column that distinguishes them.",
        )
    return tuple(proposal.name for proposal in chosen)


def _best_key(shape: Shape, pipeline: str) -> tuple[str, ...]:
    """The best column for a key of one column: text or a whole number, with a different value in each record."""
    stem = pipeline.upper().removesuffix("S")
    preferred = ["ID", f"{pipeline.upper()}_ID", f"{stem}_ID", "KEY", f"{stem}_KEY", "UUID", "GUID", f"{stem}_CODE"]

    def rank(proposal: Proposal) -> tuple[int, int]:
        name = proposal.name
        if name in preferred:
            return (0, preferred.index(name))
        last = words_of(name)[-1]
        return (1 if last in ("ID", "KEY", "UUID", "GUID") else 2 if last in _IDENTIFIERS else 3, 0)

    candidates = [
        p
        for p in shape.columns
        if p.column.required
        and not p.column.personal
        and not p.column.keep_blanks
        and p.column.logical_type in ("string", "integer")
        and _unique([p])
    ]
    best = min(candidates, key=rank, default=None)
    return (best.name,) if best else ()


def _unique(proposals: Sequence[Proposal]) -> bool:
    rows = list(zip(*(proposal.values for proposal in proposals), strict=True))
    return len(set(rows)) == len(rows)


def _as_key(proposal: Proposal, reason: str) -> Proposal:
    return replace(
        proposal, column=replace(proposal.column, key=True, required=True), reason=f"{proposal.reason}; {reason}"
    )
