"""Read the parts of a contract that are enforced: dialect, references, accepted values, quality rules, latency."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Mapping
from typing import Any

from pipeline_assets.contracts import properties as known
from pipeline_assets.contracts.mistakes import Mistakes, join
from pipeline_assets.contracts.model import Contract, Dialect, QualityRule, Reference
from pipeline_assets.contracts.validation import REASON_CODES
from pipeline_assets.errors import one_line

Properties = Mapping[str, Any]
_TO = re.compile(r"(?P<dataset>[A-Za-z][A-Za-z0-9_]*)\.(?P<column>[A-Za-z][A-Za-z0-9_]*)")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")  # the width of the column in OPS.QUARANTINE
_RULE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUERY = re.compile(r"\s*(SELECT|WITH)\s", re.IGNORECASE)
_MOST_HOURS = 24 * 36_500
_PLACEHOLDER = re.compile(r"\$\{|\{(object|table|schema|property|column)\}")
MISSING_REFERENCE = "missing_reference"


def dialect(dataset: Properties, form: str, mistakes: Mistakes) -> Dialect:
    """How the files of a dataset are written, from the custom property `dialect`."""
    location = "schema.customProperties.dialect"
    given = mistakes.custom("schema", dataset, known.SCHEMA).get("dialect")
    if given is None:
        return Dialect()
    if not isinstance(given, dict):
        mistakes.add(location, f"{given!r} is not a mapping.", f"Known: {', '.join(known.DIALECT.read)}.")
        return Dialect()
    if form != "csv":
        mistakes.add(location, f"does not fit physicalType {form}.", "Only csv has a dialect.")
    mistakes.unread(location, given, known.DIALECT)
    header, delimiter = given.get("header", True), given.get("delimiter")
    escape, null_text = given.get("escape", '"'), given.get("nullText")
    if type(header) is not bool:
        mistakes.add(f"{location}.header", f"{header!r} is neither true nor false.")
    if "delimiter" in given and not _is_delimiter(delimiter, escape):
        mistakes.add(
            f"{location}.delimiter",
            f"{delimiter!r} is not a delimiter.",
            "Use one character that is not a quote, letter, digit or line end.",
        )
    if escape not in ('"', "\\"):
        mistakes.add(f"{location}.escape", f"{escape!r} is unknown.", "Known: '\"' (a second quote), '\\'.")
    if "nullText" in given and (not isinstance(null_text, str) or not null_text.strip(" ") or _ends_line(null_text)):
        mistakes.add(
            f"{location}.nullText", f"{null_text!r} is not a text.", "Put it in quotes; the empty text is NULL anyway."
        )
    encoding = _encoding(given.get("encoding", "utf-8"), f"{location}.encoding", mistakes)
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


def _encoding(name: object, location: str, mistakes: Mistakes) -> str:
    """The encoding by its name in Python."""
    ascii_texts = "".join(map(chr, range(128)))
    try:
        codec = codecs.lookup(str(name))
        # Records are split at bytes, so ASCII characters must be the same bytes; a byte order mark breaks that.
        fits = codec.encode(ascii_texts)[0] == ascii_texts.encode("ascii")
    except (LookupError, UnicodeError, TypeError, ValueError, AssertionError):
        fits = False
    if not fits:
        mistakes.add(location, f"{name!r} is unknown.", "Use a Python encoding that contains ASCII: utf-8, cp1252, …")
        return "utf-8"
    return codec.name


def reference(given: Properties, location: str, mistakes: Mistakes) -> Reference | None:
    """The reference of a column to the rows of another dataset."""
    location, relationships = join(location, "relationships"), given.get("relationships") or []
    if len(relationships) > 1:
        mistakes.add(location, f"are {len(relationships)}.", "A column names rows of one dataset.")
    if not relationships:
        return None
    (relationship, *_) = relationships
    mistakes.unread(location, relationship, known.REFERENCE)
    mistakes.one_of(f"{location}.type", relationship.get("type") or "foreignKey", ("foreignKey",))
    to = relationship.get("to")
    target = _TO.fullmatch(to) if isinstance(to, str) else None
    if not target:
        mistakes.add(f"{location}.to", f"{to!r} does not name a column.", "Write dataset.COLUMN.")
    custom = mistakes.custom(location, relationship, known.REFERENCE)
    on_missing = custom.get("onMissing", "quarantine")
    mistakes.one_of(f"{location}.onMissing", on_missing, known.ON_MISSING)
    if on_missing == "load":
        for name in ("reasonCode", "meaning"):
            if name in custom:
                mistakes.add(f"{location}.{name}", "is not read: with `onMissing: load` nothing is quarantined.")
    code, meaning = _reason(custom, location, mistakes)
    dataset, column = (target["dataset"], target["column"].upper()) if target else ("", "")
    return Reference(dataset, column, code, meaning, on_missing)


def _reason(custom: Properties, location: str, mistakes: Mistakes) -> tuple[str, str]:
    """(reason code, meaning) of rows without their parent; the platform's own code has its meaning already."""
    code, meaning = custom.get("reasonCode", MISSING_REFERENCE), custom.get("meaning", "")
    if not isinstance(meaning, str):
        mistakes.add(f"{location}.meaning", f"{meaning!r} is not a text.")
        meaning = ""
    meaning = one_line(meaning)
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        mistakes.add(f"{location}.reasonCode", f"{code!r} is not a valid code.", "Use at most 64 of a-z, 0-9 and _.")
    elif code in REASON_CODES and (code != MISSING_REFERENCE or meaning not in ("", REASON_CODES[code])):
        what = f"{code} has another meaning already: {REASON_CODES[code]}."
        mistakes.add(f"{location}.reasonCode", what, "Choose a code of its own.")
    elif code not in REASON_CODES and not meaning:
        mistakes.add(f"{location}.meaning", f"is required: it explains {code} to readers of the quarantine.")
    return str(code), meaning


def accepted_values(given: Properties, location: str, mistakes: Mistakes) -> tuple[str, ...]:
    """The values that a column may have; rows with any other go to quarantine."""
    location, rules = join(location, "quality"), given.get("quality") or []
    accepted: list[str] = []
    for number, rule in enumerate(rules):
        mistakes.unread(location, rule, known.ACCEPTED_VALUES)
        if rule.get("type", "library") != "library":
            mistakes.add(f"{location}.type", f"{rule['type']!r} is unknown here.", "SQL rules belong in the schema.")
            continue
        if rule.get("metric") not in known.METRICS:
            if "metric" in rule or "rule" not in rule:
                mistakes.one_of(f"{location}.metric", rule.get("metric"), known.METRICS)
            continue
        if number:
            mistakes.add(location, "invalidValues is given twice.")
        arguments = rule.get("arguments") or {}
        mistakes.unread(f"{location}.arguments", arguments, known.ARGUMENTS)
        values = arguments.get("validValues")
        if not isinstance(values, list) or not values:
            mistakes.add(f"{location}.arguments.validValues", "is required.", "List the values.")
            continue
        for value in values:
            if not isinstance(value, str):
                mistakes.add(f"{location}.arguments.validValues", f"{value!r} is not a text.", "Put it in quotes.")
        if rule.get("mustBe", 0) != 0:
            mistakes.add(f"{location}.mustBe", f"{rule['mustBe']!r} is unknown.", "Write 0: such rows are quarantined.")
        accepted.extend(str(value) for value in values)
    return tuple(accepted)


def quality_rules(dataset: Properties, mistakes: Mistakes) -> tuple[QualityRule, ...]:
    """The quality rules of a table, ODCS `quality` of type sql."""
    rules: list[QualityRule] = []
    names: set[str] = set()
    for number, rule in enumerate(dataset.get("quality") or []):
        name = rule.get("name") or ""
        location = f"schema.quality.{name or f'[{number}]'}"
        mistakes.unread(location, rule, known.RULE)
        if rule.get("type") != "sql":
            mistakes.add(f"{location}.type", f"{rule.get('type')!r} is unknown here.", "Known: sql.")
            continue
        if not _RULE_NAME.fullmatch(name):
            mistakes.add(f"{location}.name", f"{name!r} is not an identifier.", "Use letters, digits and _.")
        elif name.lower() in names:
            mistakes.add(f"{location}.name", "is used twice.")
        elif name.lower() in known.BUILT_IN_CHECKS:
            mistakes.add(f"{location}.name", "is the name of a check that the platform makes.", "Choose another name.")
        names.add(name.lower())
        mistakes.one_of(f"{location}.severity", rule.get("severity", "error"), known.SEVERITIES)
        failing_rows = mistakes.custom(location, rule, known.RULE).get("failingRows", "")
        _check_query(rule.get("query"), f"{location}.query", mistakes)
        if failing_rows != "":
            _check_query(failing_rows, f"{location}.failingRows", mistakes)
        operator, expected = _comparison(rule, location, mistakes)
        rules.append(
            QualityRule(
                name=name,
                description=one_line(rule.get("description") or ""),
                query=str(rule.get("query") or "").strip(),
                operator=operator,
                expected=expected,
                severity=rule.get("severity", "error"),
                failing_rows=str(failing_rows).strip(),
            )
        )
    return tuple(rules)


def latency(document: Properties, contract: Contract, mistakes: Mistakes) -> tuple[str, float]:
    """(column, hours that its newest value may be old) of the one `latency` in `slaProperties`; ("", 0) without one."""
    found: list[tuple[str, float]] = []
    for number, given in enumerate(document.get("slaProperties") or []):
        location = f"slaProperties.{given.get('property') or f'[{number}]'}"
        mistakes.unread(location, given, known.AGREEMENT)
        if given.get("property") not in known.AGREEMENTS:
            mistakes.one_of(f"{location}.property", given.get("property"), known.AGREEMENTS)
            continue
        if contract.form == "parquet":
            mistakes.add(location, "does not fit physicalType parquet.", "Only tables of the warehouse are checked.")
        if found:
            mistakes.add(location, "is given twice.", "A table has one.")
        value, unit = given.get("value"), given.get("unit")
        mistakes.one_of(f"{location}.unit", unit, known.HOURS_OF_UNIT)
        hours_of_unit = known.HOURS_OF_UNIT.get(unit or "", 1)
        if not _is_number(value) or not 0 < value <= _MOST_HOURS / hours_of_unit:
            most = _MOST_HOURS // hours_of_unit
            mistakes.add(f"{location}.value", f"{value!r} is not a number above 0 and at most {most}.")
            value = 1
        column = _dated_column(given.get("element"), contract, f"{location}.element", mistakes)
        found.append((column, value * hours_of_unit))
    return found[0] if found else ("", 0)


def _dated_column(element: str | None, contract: Contract, location: str, mistakes: Mistakes) -> str:
    """The date or timestamp that `TABLE.COLUMN` or `COLUMN` names."""
    table, _, name = (element or "").upper().rpartition(".")
    dated = [column.name for column in contract.columns if column.logical_type in ("date", "timestamp")]
    if table not in ("", contract.table) or name not in dated:
        mistakes.add(
            location,
            f"{element!r} is not a date or timestamp of {contract.table}.",
            f"Known: {', '.join(dated) or 'none'}.",
        )
    elif contract.column(name).personal:
        mistakes.add(location, f"{name} is personal, and the check shows its newest value.", "Name another column.")
    return name


def _check_query(query: object, location: str, mistakes: Mistakes) -> None:
    if not isinstance(query, str) or not _QUERY.match(query):
        mistakes.add(location, "is not a SELECT.")
    elif _PLACEHOLDER.search(query):
        mistakes.add(location, "has a placeholder.", "Write the table with its schema.")


def _comparison(rule: Properties, location: str, mistakes: Mistakes) -> tuple[str, float | tuple[float, float]]:
    """(operator, expected number or range) of a rule."""
    operators = [name for name in known.OPERATORS if name in rule]
    if len(operators) != 1:
        listed = " and ".join(operators) if operators else "nothing"
        mistakes.add(location, f"compares with {listed}.", f"Write exactly one of {', '.join(known.OPERATORS)}.")
        return "mustBe", 0
    (operator,) = operators
    value = rule[operator]
    if operator in known.RANGES:
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)) or value[0] > value[1]:
            mistakes.add(f"{location}.{operator}", f"{value!r} is not a range.", "Write [least, most].")
            return operator, (0, 0)
        return operator, (value[0], value[1])
    if not _is_number(value):
        mistakes.add(f"{location}.{operator}", f"{value!r} is not a number.")
        return operator, 0
    return operator, value


def _is_number(value: object) -> bool:
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))
