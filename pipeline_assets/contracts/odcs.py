"""Read Open Data Contract Standard (ODCS 3.x) documents, one dataset per file, and refuse properties that are not read.

The first entry of `schema` is the dataset; its `physicalType` says whether it is a `table`, landed `csv` or `json`, or
`parquet` files of the lake. Settings without an ODCS property are `customProperties`. docs/contracts.md lists
everything that is read. All mistakes of a file are reported at once: the readers collect them and continue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline_assets.contracts import properties as known
from pipeline_assets.contracts.clauses import accepted_values, dialect, latency, quality_rules, reference
from pipeline_assets.contracts.mistakes import Mistakes, join
from pipeline_assets.contracts.model import (
    DATE_PATTERNS,
    FORMS,
    LAKE_DECIMAL,
    LAKE_TYPES,
    LOGICAL_TYPES,
    MOST_FLOAT_DECIMALS,
    PHYSICAL_TYPES,
    Column,
    Contract,
)
from pipeline_assets.contracts.validation import REASON_CODES
from pipeline_assets.errors import ContractError, one_line

Properties = Mapping[str, Any]
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
# No look-around, back reference, lazy count or class by letter: engines differ on them.
_PLAIN_PATTERN = re.compile(r"([^\\(]|\\[.+*?()\[\]{}|^$/-]|\((?!\?))*")
_JSON_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MOST_DIGITS = 38  # of a NUMBER in Snowflake
_IDENTIFIER = "Use letters, digits and _."


def load_contract(path: Path) -> Contract:
    """Read one ODCS document.

    Raises:
        ContractError: the file is missing, is not ODCS, or has properties that contradict each other or are not read;
            the message names the file and, line by line, each property.
    """
    try:
        return _contract_in(path.name, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ContractError(f"{path.name}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ContractError(f"{path.name}: is not UTF-8.", remedy="Save it as UTF-8.") from None


@lru_cache(maxsize=256)  # a pipeline needs each of its contracts twice or more
def _contract_in(file: str, text: str) -> Contract:
    return contract_of(file, _document(file, text))


def contract_of(file: str, document: dict[str, Any]) -> Contract:
    """The contract in a document; values of wrong types are removed from the document.

    Raises:
        ContractError: as for `load_contract`; `file` is the name in its message.
    """
    mistakes = Mistakes(file)
    if not str(document.get("apiVersion")).startswith("v3."):
        raise ContractError(f"{file}: apiVersion: is {document.get('apiVersion')!r}.", remedy="Use ODCS v3.")
    contract = _contract(_typed(document, mistakes), mistakes)
    mistakes.refuse()
    return contract


def _document(file: str, text: str) -> dict[str, Any]:
    import yaml

    # libyaml's parser, ten times as fast, is in every wheel of PyYAML, but not in each build of its source.
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):
        """Refuses a property that is given twice; YAML would take the last."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            names = [key.value for key, _ in node.value]
            for number, (key, _) in enumerate(node.value):
                if key.value in names[:number]:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            return super().construct_mapping(node, deep)

    try:
        document = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        if isinstance(error, yaml.constructor.ConstructorError):
            raise ContractError(f"{file}{line}: {error.problem}.") from None
        raise ContractError(f"{file}{line}: is not YAML.", remedy="Correct the indentation there.") from None
    except ValueError as error:  # YAML takes texts like 2026-13-01 for dates
        raise ContractError(f"{file}: is not YAML: {error}.", remedy="Put texts in quotes.") from None
    if not isinstance(document, dict):
        raise ContractError(f"{file}: is not an ODCS document.", remedy="It needs apiVersion and schema.")
    return document


def _typed(document: dict[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """The document without the values that do not have the standard's types; each is a mistake."""
    from open_data_contract_standard.model import OpenDataContractStandard
    from pydantic import ValidationError

    while True:
        try:
            OpenDataContractStandard.model_validate(document, strict=True)
            return document
        except ValidationError as error:
            problems = {
                _document_path(document, problem["loc"]): problem for problem in error.errors(include_url=False)
            }
        # Where several types are possible, pydantic reports a problem for each; the deepest is of the intended type.
        deepest = [
            location
            for location in problems
            if not any(other[: len(location)] == location != other for other in problems)
        ]
        for location in deepest:
            if problems[location]["type"] == "extra_forbidden":
                mistakes.unread("", {location[-1]: None}, known.DOCUMENT)
            else:
                mistakes.add(_display_path(document, location), f"{problems[location]['msg']}.")
        if not all(deepest):
            mistakes.refuse()
        for location in reversed(deepest):  # from the end, so that indexes of lists stay valid
            holder = document
            for part in location[:-1]:
                holder = holder[part]
            del holder[location[-1]]


def _document_path(document: Any, location: Sequence[str | int]) -> tuple[Any, ...]:
    """The keys and indexes of a location, without the names of types that pydantic adds."""
    steps = []
    for part in location:
        exists = part in document if isinstance(document, dict) else isinstance(document, list) and type(part) is int
        if exists:
            steps.append(part)
            document = document[part]
    return tuple(steps)


def _display_path(document: Any, location: Sequence[str | int]) -> str:
    """A location for messages: columns and rules by their names."""
    names: list[str] = []
    for part in location:
        document = document[part]
        named = document.get("name") or document.get("property") if isinstance(document, dict) else None
        names.append(part if isinstance(part, str) else str(named or f"[{part}]"))
    if names[:1] == ["schema"] and len(names) > 2:
        del names[1]  # a file has one dataset
    below = names[names.index("properties") + 1 :] if "properties" in names else []
    return join(*(name for name in below if name not in ("properties", "items"))) or join(*names) or "the document"


def _contract(document: Properties, mistakes: Mistakes) -> Contract:
    mistakes.unread("", document, known.DOCUMENT)
    mistakes.one_of("kind", document.get("kind", "DataContract"), ("DataContract",))
    description, team = document.get("description") or {}, document.get("team") or {}
    if isinstance(team, list):
        mistakes.add("team", "is a list.", "Write `team: {name: ..., members: [...]}`.")
        team = {}
    mistakes.unread("description", description, known.DESCRIPTION)
    mistakes.unread("team", team, known.TEAM)
    datasets = document.get("schema") or []
    if len(datasets) != 1:
        mistakes.add("schema", f"describes {len(datasets)} datasets.", "Describe one dataset per file.")
    dataset = datasets[0] if datasets else {}
    form = dataset.get("physicalType") or "table"
    if datasets:
        mistakes.unread("schema", dataset, known.SCHEMA)
        mistakes.one_of("schema.physicalType", form, FORMS)
        mistakes.one_of("schema.logicalType", dataset.get("logicalType") or "object", ("object",))
    table = (dataset.get("physicalName") or dataset.get("name") or "").upper()
    for location in ("name", "domain"):
        if not document.get(location):
            mistakes.add(location, "is required.")
        elif not _NAME.fullmatch(document[location].upper()):
            mistakes.add(location, f"{document[location]!r} is not an identifier.", _IDENTIFIER)
    if datasets and not _NAME.fullmatch(table):
        mistakes.add("schema.physicalName", f"{table!r} is not an identifier.", _IDENTIFIER)
    properties = dataset.get("properties") or []
    if datasets and not properties:
        mistakes.add("schema", f"{dataset.get('name')} has no properties.")
    contract = Contract(
        name=document.get("name") or "",
        table=table,
        version=document.get("version") or "0",
        domain=document.get("domain") or "",
        description=description.get("purpose") or "",
        grain=dataset.get("dataGranularityDescription") or "",
        owner=team.get("name") or "data-engineering",
        columns=_columns(properties, form, mistakes),
        form=form,
        dialect=dialect(dataset, form, mistakes),
        quality=quality_rules(dataset, mistakes),
    )
    if form == "parquet":
        for name, count, fewest in (
            ("partitioned", sum(column.partition for column in contract.columns), 1),
            ("keepTogether", sum(column.keep_together for column in contract.columns), 0),
        ):
            if not fewest <= count <= 1:
                most = "one" if fewest else "at most one"
                mistakes.add("schema.properties", f"{count} columns are {name}.", f"A lake table has {most}.")
    column, hours = latency(document, contract, mistakes)
    columns = tuple(replace(c, latency_hours=hours) if c.name == column else c for c in contract.columns)
    items = _items(contract, properties, mistakes)
    names = [*contract.column_names, *(items.column_names if items else ())]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        mistakes.add(name, "is listed twice.")
    return replace(contract, columns=columns, items=items)


def _columns(
    properties: Sequence[Properties],
    form: str,
    mistakes: Mistakes,
    *,
    level: known.Level | None = None,
    inside: str = "",
    path: tuple[str, ...] = (),
) -> tuple[Column, ...]:
    """The columns of a record, or of the elements of its list; the columns of nested objects are included."""
    columns: list[Column] = []
    for number, given in enumerate(properties):
        location = join(inside, given.get("name") or f"properties[{number}]")
        kind = given.get("logicalType") if form == "json" else None
        if kind == "object":
            mistakes.unread(location, given, known.OBJECT)
            below = (*path, _json_key(given, location, mistakes))
            nested = given.get("properties") or []
            if not nested:
                mistakes.add(location, "is an object without properties.")
            columns.extend(_columns(nested, form, mistakes, level=level, inside=location, path=below))
        elif kind == "array" and (inside or level):
            mistakes.add(location, "is a list within an object or a list.", "A record may have one list, at its top.")
        elif kind != "array":
            columns.append(_column(given, form, location, mistakes, level, path))
    return tuple(columns)


def _items(contract: Contract, properties: Sequence[Properties], mistakes: Mistakes) -> Contract | None:
    """The contract of the elements of the one list that a record may have."""
    lists = [given for given in properties if contract.form == "json" and given.get("logicalType") == "array"]
    for given in lists:
        location, items = given.get("name") or "a list", given.get("items") or {}
        mistakes.unread(location, given, known.LIST)
        mistakes.unread(join(location, "items"), items, known.ELEMENT)
        mistakes.one_of(join(location, "items", "logicalType"), items.get("logicalType") or "object", ("object",))
        if not items.get("properties"):
            mistakes.add(location, "is a list of other things than objects.", "A record may have one list, of objects.")
        if not _NAME.fullmatch(given.get("name") or ""):
            mistakes.add(location, "is not an upper-case identifier.", _IDENTIFIER)
    if len(lists) > 1:
        names = ", ".join(str(given.get("name")) for given in lists)
        mistakes.add(names, f"are {len(lists)} lists.", "A record may have one list, of objects.")
    if len(lists) != 1:
        return None
    (given,) = lists
    name = given.get("name") or ""
    return replace(
        contract,
        name=f"{contract.name}_{name.lower()}",
        table=f"{contract.table}_{name}",
        description=_text(given),
        grain=f"One row per element of {name}.",
        columns=_columns(
            (given.get("items") or {}).get("properties") or [],
            contract.form,
            mistakes,
            level=known.ELEMENT_COLUMN,
            inside=name,
        ),
        path=(_json_key(given, name, mistakes),),
        quality=(),
    )


def _json_key(given: Properties, location: str, mistakes: Mistakes) -> str:
    key = given.get("physicalName") or (given.get("name") or "").lower()
    if not _JSON_KEY.fullmatch(key):
        mistakes.add(location, f"the JSON key {key!r} cannot be addressed.", "Use letters, digits, _ and -.")
    return key


def _column(
    given: Properties, form: str, location: str, mistakes: Mistakes, level: known.Level | None, path: tuple[str, ...]
) -> Column:
    level = level or {"json": known.JSON_COLUMN, "parquet": known.LAKE_COLUMN}.get(form, known.COLUMN)
    mistakes.unread(location, given, level)
    custom = mistakes.custom(location, given, level)
    name, logical = given.get("name") or "", given.get("logicalType") or ""
    if not _NAME.fullmatch(name):
        mistakes.add(location, "is not an upper-case identifier.", _IDENTIFIER)
    mistakes.one_of(join(location, "logicalType"), logical, LOGICAL_TYPES)
    if given.get("classification"):
        mistakes.one_of(join(location, "classification"), given["classification"], known.CLASSIFICATIONS)
    physical = (given.get("physicalType") or "").upper().replace(" ", "")
    column = Column(
        name=name,
        logical_type=logical,
        physical_type=physical,
        description=_text(given),
        required=bool(given.get("required")),
        classification=given.get("classification"),
    )
    if form == "parquet":
        exact = logical == "number" and LAKE_DECIMAL.match(physical)
        decimal = " or DECIMAL(p,s)" if logical == "number" else ""
        if logical in LOGICAL_TYPES and physical != LAKE_TYPES.get(logical) and not exact:
            mistakes.add(
                join(location, "physicalType"),
                f"{given.get('physicalType')!r} does not fit logicalType {logical}.",
                f"Use {LAKE_TYPES[logical]}{decimal}." if logical in LAKE_TYPES else f"Known: {', '.join(LAKE_TYPES)}.",
            )
        together = custom.get("keepTogether", False)
        if type(together) is not bool:
            mistakes.add(join(location, "customProperties.keepTogether"), f"{together!r} is neither true nor false.")
        return replace(column, partition=bool(given.get("partitioned")), keep_together=together is True)
    key = bool(given.get("primaryKey"))
    if key and given.get("required") is False:
        mistakes.add(join(location, "required"), "is false, but a key is always required.", "Leave it out.")
    if custom.get("blanks", "keep") != "keep" or ("blanks" in custom and logical != "string"):
        mistakes.add(join(location, "customProperties.blanks"), "is `keep`, of a string, or left out.")
    pattern = _pattern(given, location, mistakes)
    return replace(
        column,
        required=column.required or key,
        key=key,
        max_length=_width(given, physical, location, mistakes),
        accepted=accepted_values(given, location, mistakes),
        pattern=pattern,
        examples=tuple(map(str, given.get("examples") or ())) if pattern else (),
        reason_code=_reason_code(given, custom, location, mistakes),
        input_formats=_input_formats(custom, logical, location, mistakes),
        keep_blanks=custom.get("blanks") == "keep",
        writes_floats=_writes_floats(custom, logical, physical, location, mistakes),
        reference=reference(given, location, mistakes),
        path=(*path, _json_key(given, location, mistakes)) if form == "json" else (),
        history=_history(custom, logical, location, mistakes),
    )


def _history(custom: Properties, logical: str, location: str, mistakes: Mistakes) -> str:
    if "history" not in custom:
        return ""
    role, at = str(custom["history"]), join(location, "customProperties.history")
    mistakes.one_of(at, role, known.HISTORY_TYPES)
    if (wanted := known.HISTORY_TYPES.get(role)) and logical != wanted:
        mistakes.add(at, f"{role} does not fit logicalType {logical}.", f"It is a {wanted}.")
    return role


def _width(given: Properties, physical: str, location: str, mistakes: Mistakes) -> int | None:
    """The most characters of a value; VARCHAR(n) is a limit too, as one longer value would fail the whole load."""
    logical, options = given.get("logicalType") or "", given.get("logicalTypeOptions") or {}
    if logical not in LOGICAL_TYPES:
        return None
    mistakes.unread(join(location, "logicalTypeOptions"), options, known.TYPE_OPTIONS)
    at = join(location, "physicalType")
    fit = PHYSICAL_TYPES[logical].match(physical)
    if not fit:
        mistakes.add(
            at,
            f"{given.get('physicalType')!r} does not fit logicalType {logical}.",
            "Numbers declare precision and scale or are FLOAT, timestamps are TIMESTAMP_NTZ(6).",
        )
    elif fit.groupdict().get("scale") and not int(fit["scale"]) <= int(fit["precision"]) <= _MOST_DIGITS:
        mistakes.add(at, f"{physical} does not exist.", f"At most {_MOST_DIGITS} digits in all.")
    width = int(fit["precision"]) if fit and logical == "string" and fit["precision"] else None
    length, at = options.get("maxLength", width), join(location, "logicalTypeOptions.maxLength")
    if length is not None and logical != "string":
        mistakes.add(at, f"does not fit logicalType {logical}.", "Only strings have a length.")
    elif length is not None and (type(length) is not int or length < 1 or (width and length > width)):
        mistakes.add(at, f"{length!r} does not fit {given.get('physicalType')}.")
    return length


def _pattern(given: Properties, location: str, mistakes: Mistakes) -> str | None:
    """A regular expression that a whole text must match; only what all engines read alike."""
    pattern, at = (given.get("logicalTypeOptions") or {}).get("pattern"), join(location, "logicalTypeOptions.pattern")
    if pattern is None:
        return None
    if given.get("logicalType") != "string":
        mistakes.add(at, f"does not fit logicalType {given.get('logicalType')}.", "Only strings have a pattern.")
        return None
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        mistakes.add(at, f"{pattern!r} is not a regular expression: {error}.")
        return None
    if not _PLAIN_PATTERN.fullmatch(pattern):
        mistakes.add(
            at,
            f"{pattern!r} has a construct that engines read differently.",
            "Use characters, classes in brackets, groups, | and the counts ? * + {m,n}.",
        )
    return f"^({pattern.removeprefix('^').removesuffix('$')})$"


def _reason_code(given: Properties, custom: Properties, location: str, mistakes: Mistakes) -> str | None:
    code, at = custom.get("reasonCode"), join(location, "customProperties.reasonCode")
    if code is None:
        return None
    if code not in REASON_CODES:
        mistakes.one_of(at, code, REASON_CODES)
    if not (given.get("quality") or (given.get("logicalTypeOptions") or {}).get("pattern")):
        mistakes.add(at, "stands at a column without accepted values or pattern.", "Leave it out.")
    return code


def _writes_floats(custom: Properties, logical: str, physical: str, location: str, mistakes: Mistakes) -> bool:
    value, location = custom.get("writesFloats", False), join(location, "customProperties.writesFloats")
    if type(value) is not bool:
        mistakes.add(location, f"{value!r} is neither true nor false.")
    elif value and logical != "number":
        mistakes.add(location, f"does not fit logicalType {logical}.", "Only numbers have it.")
    elif value and physical == "FLOAT":
        mistakes.add(location, "does not fit FLOAT.", "Leave it out: every value is kept as it is.")
    elif value and (fit := PHYSICAL_TYPES["number"].match(physical)) and int(fit["scale"]) > MOST_FLOAT_DECIMALS:
        mistakes.add(
            location, f"does not fit {physical}.", f"A float has at most {MOST_FLOAT_DECIMALS} exact decimals."
        )
    return value is True


def _input_formats(custom: Properties, logical: str, location: str, mistakes: Mistakes) -> tuple[str, ...]:
    formats = custom.get("inputFormats", ["YYYY-MM-DD"] if logical == "date" else [])
    location = join(location, "customProperties.inputFormats")
    if not isinstance(formats, list):
        mistakes.add(location, f"{formats!r} is not a list.", f"Known: {', '.join(DATE_PATTERNS)}.")
        return ()
    if "inputFormats" in custom and logical != "date":
        mistakes.add(location, f"does not fit logicalType {logical}.", "Only dates have them.")
    elif logical == "date":
        unknown = [format_ for format_ in map(str, formats) if format_ not in DATE_PATTERNS]
        if unknown or not formats:
            mistakes.add(location, f"{', '.join(unknown) or 'none'} unknown.", f"Known: {', '.join(DATE_PATTERNS)}.")
    return tuple(str(format_) for format_ in formats)


def _text(given: Properties) -> str:
    """A description on one line."""
    return one_line(given.get("description") or "")
