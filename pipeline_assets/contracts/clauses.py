"""The parts of a contract that bind: the dialect of its files, references, accepted values and quality rules."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Mapping
from typing import Any

from pipeline_assets.contracts import properties as known
from pipeline_assets.contracts.mistakes import Mistakes, join
from pipeline_assets.contracts.model import Dialect, QualityRule, Reference
from pipeline_assets.contracts.validation import REASON_CODES

Said = Mapping[str, Any]
_TO = re.compile(r"(?P<dataset>[A-Za-z][A-Za-z0-9_]*)\.(?P<column>[A-Za-z][A-Za-z0-9_]*)")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")  # as wide as OPS.QUARANTINE keeps it
_RULE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUERY = re.compile(r"\s*(SELECT|WITH)\s", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\$\{|\{(object|table|schema|property|column)\}")
MISSING_REFERENCE = "missing_reference"


def dialect(dataset: Said, form: str, mistakes: Mistakes) -> Dialect:
    """How the files of a dataset are written, from the custom property `dialect`."""
    where = "schema.customProperties.dialect"
    said = mistakes.custom("schema", dataset, known.SCHEMA).get("dialect")
    if said is None:
        return Dialect()
    if not isinstance(said, dict):
        mistakes.add(where, f"{said!r} is no mapping.", f"Known: {', '.join(known.DIALECT.read)}.")
        return Dialect()
    if form != "csv":
        mistakes.add(where, f"does not fit physicalType {form}.", "Only csv has a dialect.")
    mistakes.unread(where, said, known.DIALECT)
    header, delimiter = said.get("header", True), said.get("delimiter")
    escape, null_text = said.get("escape", '"'), said.get("nullText")
    if type(header) is not bool:
        mistakes.add(f"{where}.header", f"{header!r} is neither true nor false.")
    if "delimiter" in said and not _is_delimiter(delimiter, escape):
        mistakes.add(
            f"{where}.delimiter", f"{delimiter!r} is no delimiter.", "One character: no quote, letter, digit, line end."
        )
    if escape not in ('"', "\\"):
        mistakes.add(f"{where}.escape", f"{escape!r} is unknown.", "Known: '\"' (a second quote), '\\'.")
    if "nullText" in said and (not isinstance(null_text, str) or not null_text.strip(" ") or _ends_line(null_text)):
        mistakes.add(
            f"{where}.nullText", f"{null_text!r} is no text.", "Put it in quotes; the empty text is no value anyway."
        )
    encoding = _encoding(said.get("encoding", "utf-8"), f"{where}.encoding", mistakes)
    return Dialect(header, delimiter, escape, encoding, null_text)


def _is_delimiter(text: object, escape: object) -> bool:
    return (
        isinstance(text, str)
        and len(text) == 1
        and not text.isalnum()
        and text not in ('"', "'", "\0", escape)
        and not _ends_line(text)
    )


def _ends_line(text: str) -> bool:
    return "\n" in text or "\r" in text


def _encoding(name: object, where: str, mistakes: Mistakes) -> str:
    """The encoding by the name that Python has for it."""
    ascii_texts = "".join(map(chr, range(128)))
    try:
        codec = codecs.lookup(str(name))
        # Records are split at bytes, so what is ASCII has to be the same byte; a byte order mark is none of it.
        fits = codec.encode(ascii_texts)[0] == ascii_texts.encode("ascii")
    except (LookupError, UnicodeError, TypeError, ValueError, AssertionError):
        fits = False
    if not fits:
        mistakes.add(where, f"{name!r} is unknown.", "An encoding of Python's that ASCII is part of: utf-8, cp1252, …")
        return "utf-8"
    return codec.name


def reference(said: Said, where: str, mistakes: Mistakes) -> Reference | None:
    """The dataset whose rows a column names."""
    where, relationships = join(where, "relationships"), said.get("relationships") or []
    if len(relationships) > 1:
        mistakes.add(where, f"are {len(relationships)}.", "A column names rows of one dataset.")
    if not relationships:
        return None
    (entry, *_) = relationships
    mistakes.unread(where, entry, known.REFERENCE)
    mistakes.one_of(f"{where}.type", entry.get("type") or "foreignKey", ("foreignKey",))
    to = entry.get("to")
    target = _TO.fullmatch(to) if isinstance(to, str) else None
    if not target:
        mistakes.add(f"{where}.to", f"{to!r} names no column.", "Write dataset.COLUMN.")
    custom = mistakes.custom(where, entry, known.REFERENCE)
    on_missing = custom.get("onMissing", "quarantine")
    mistakes.one_of(f"{where}.onMissing", on_missing, known.ON_MISSING)
    if on_missing == "load":
        for name in ("reasonCode", "meaning"):
            if name in custom:
                mistakes.add(f"{where}.{name}", "is not read: with `onMissing: load` nothing waits in quarantine.")
    code, meaning = _reason(custom, where, mistakes)
    dataset, column = (target["dataset"], target["column"].upper()) if target else ("", "")
    return Reference(dataset, column, code, meaning, on_missing)


def _reason(custom: Said, where: str, mistakes: Mistakes) -> tuple[str, str]:
    """(reason code, meaning) of rows without their parent; the platform's own code brings its meaning along."""
    code, meaning = custom.get("reasonCode", MISSING_REFERENCE), custom.get("meaning", "")
    if not isinstance(meaning, str):
        mistakes.add(f"{where}.meaning", f"{meaning!r} is no text.")
        meaning = ""
    meaning = " ".join(meaning.split())
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        mistakes.add(f"{where}.reasonCode", f"{code!r} is no code.", "Use small letters, digits and _, 64 at most.")
    elif code in REASON_CODES and (code != MISSING_REFERENCE or meaning not in ("", REASON_CODES[code])):
        what = f"{code} has another meaning already: {REASON_CODES[code]}."
        mistakes.add(f"{where}.reasonCode", what, "Choose a code of its own.")
    elif code not in REASON_CODES and not meaning:
        mistakes.add(f"{where}.meaning", f"is required: what {code} means to whoever reads the quarantine.")
    return str(code), meaning


def accepted_values(said: Said, where: str, mistakes: Mistakes) -> tuple[str, ...]:
    """The values that a column may have; rows with any other go to quarantine."""
    where, entries = join(where, "quality"), said.get("quality") or []
    found: list[str] = []
    for number, entry in enumerate(entries):
        mistakes.unread(where, entry, known.ACCEPTED_VALUES)
        if entry.get("type", "library") != "library":
            mistakes.add(f"{where}.type", f"{entry['type']!r} is unknown here.", "SQL rules stand in the schema.")
            continue
        if entry.get("metric") not in known.METRICS:
            if "metric" in entry or "rule" not in entry:
                mistakes.one_of(f"{where}.metric", entry.get("metric"), known.METRICS)
            continue
        if number:
            mistakes.add(where, "invalidValues is said twice.")
        arguments = entry.get("arguments") or {}
        mistakes.unread(f"{where}.arguments", arguments, known.ARGUMENTS)
        values = arguments.get("validValues")
        if not isinstance(values, list) or not values:
            mistakes.add(f"{where}.arguments.validValues", "is required.", "List the values.")
            continue
        for value in values:
            if not isinstance(value, str):
                mistakes.add(f"{where}.arguments.validValues", f"{value!r} is no text.", "Put it in quotes.")
        if entry.get("mustBe", 0) != 0:
            mistakes.add(f"{where}.mustBe", f"{entry['mustBe']!r} is unknown.", "Each such row is set aside: mustBe 0.")
        found.extend(str(value) for value in values)
    return tuple(found)


def quality_rules(dataset: Said, mistakes: Mistakes) -> tuple[QualityRule, ...]:
    """The rules over tables, ODCS `quality` of type sql."""
    rules: list[QualityRule] = []
    names: set[str] = set()
    for number, entry in enumerate(dataset.get("quality") or []):
        name = entry.get("name") or ""
        where = f"schema.quality.{name or f'[{number}]'}"
        mistakes.unread(where, entry, known.RULE)
        if entry.get("type") != "sql":
            mistakes.add(f"{where}.type", f"{entry.get('type')!r} is unknown here.", "Known: sql.")
            continue
        if not _RULE_NAME.fullmatch(name):
            mistakes.add(f"{where}.name", f"{name!r} is no identifier.", "Use letters, digits and _.")
        elif name.lower() in names:
            mistakes.add(f"{where}.name", "is used twice.")
        names.add(name.lower())
        mistakes.one_of(f"{where}.severity", entry.get("severity", "error"), known.SEVERITIES)
        failing_rows = mistakes.custom(where, entry, known.RULE).get("failingRows", "")
        _check_query(entry.get("query"), f"{where}.query", mistakes)
        if failing_rows != "":
            _check_query(failing_rows, f"{where}.failingRows", mistakes)
        operator, expected = _comparison(entry, where, mistakes)
        rules.append(
            QualityRule(
                name=name,
                description=" ".join((entry.get("description") or "").split()),
                query=str(entry.get("query") or "").strip(),
                operator=operator,
                expected=expected,
                severity=entry.get("severity", "error"),
                failing_rows=str(failing_rows).strip(),
            )
        )
    return tuple(rules)


def _check_query(query: object, where: str, mistakes: Mistakes) -> None:
    if not isinstance(query, str) or not _QUERY.match(query):
        mistakes.add(where, "is no SELECT.")
    elif _PLACEHOLDER.search(query):
        mistakes.add(where, "has a placeholder.", "Write the table with its schema.")


def _comparison(entry: Said, where: str, mistakes: Mistakes) -> tuple[str, float | tuple[float, float]]:
    """(operator, expected number or range) of a rule."""
    operators = [name for name in known.OPERATORS if name in entry]
    if len(operators) != 1:
        said = " and ".join(operators) if operators else "nothing"
        mistakes.add(where, f"compares with {said}.", f"Write exactly one of {', '.join(known.OPERATORS)}.")
        return "mustBe", 0
    (operator,) = operators
    value = entry[operator]
    if operator in known.RANGES:
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)) or value[0] > value[1]:
            mistakes.add(f"{where}.{operator}", f"{value!r} is no range.", "Write [least, most].")
            return operator, (0, 0)
        return operator, (value[0], value[1])
    if not _is_number(value):
        mistakes.add(f"{where}.{operator}", f"{value!r} is no number.")
        return operator, 0
    return operator, value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
