"""Read Open Data Contract Standard (ODCS 3.x) documents, one dataset a file, and refuse what nobody would read.

The first entry of `schema` is the dataset; its `physicalType` says whether it is a `table`, landed `csv` or `json`, or
`parquet` files of the lake. What ODCS has no word for stands in `customProperties`. docs/contracts.md lists everything
that is read. All mistakes of a file are reported at once: readers note them and go on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline_assets.contracts import properties as known
from pipeline_assets.contracts.clauses import accepted_values, dialect, quality_rules, reference
from pipeline_assets.contracts.mistakes import Mistakes, join
from pipeline_assets.contracts.model import (
    DATE_PATTERNS,
    FORMS,
    LAKE_TYPES,
    LOGICAL_TYPES,
    PHYSICAL_TYPES,
    Column,
    Contract,
)
from pipeline_assets.errors import ContractError

Said = Mapping[str, Any]
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_JSON_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MOST_DIGITS = 38  # of a NUMBER in Snowflake
_IDENTIFIER = "Use letters, digits and _."


def load_contract(path: Path) -> Contract:
    """Read one ODCS document.

    Raises:
        ContractError: the file is missing, is no ODCS, asks for what cannot be kept or says what nobody reads; the
            message names the file and, line by line, each property.
    """
    return contract_of(path.name, _read(path))


def contract_of(file: str, document: dict[str, Any]) -> Contract:
    """The contract that a document is; values that are of no use to it are taken out of the document.

    Raises:
        ContractError: as `load_contract`, `file` is the name in its message.
    """
    mistakes = Mistakes(file)
    if not str(document.get("apiVersion")).startswith("v3."):
        raise ContractError(f"{file}: apiVersion: is {document.get('apiVersion')!r}.", remedy="Use ODCS v3.")
    contract = _contract(_typed(document, mistakes), mistakes)
    mistakes.refuse()
    return contract


def _read(path: Path) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a property that is said twice; YAML would take the last."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            names = [key.value for key, _ in node.value]
            for number, (key, _) in enumerate(node.value):
                if key.value in names[:number]:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is said twice", key.start_mark)
            return super().construct_mapping(node, deep)

    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise ContractError(f"{path.name}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ContractError(f"{path.name}: is not UTF-8.", remedy="Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        if isinstance(error, yaml.constructor.ConstructorError):
            raise ContractError(f"{path.name}{line}: {error.problem}.") from None
        raise ContractError(f"{path.name}{line}: is not YAML.", remedy="Mend the indentation there.") from None
    except ValueError as error:  # of a date that YAML takes for one, like 2026-13-01
        raise ContractError(f"{path.name}: is not YAML: {error}.", remedy="Put texts in quotes.") from None
    if not isinstance(document, dict):
        raise ContractError(f"{path.name}: is not an ODCS document.", remedy="It needs apiVersion and schema.")
    return document


def _typed(document: dict[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    """The document without the values that are not of the standard's types, which are mistakes."""
    from open_data_contract_standard.model import OpenDataContractStandard
    from pydantic import ValidationError

    while True:
        try:
            OpenDataContractStandard.model_validate(document, strict=True)
            return document
        except ValidationError as error:
            problems = {_place(document, problem["loc"]): problem for problem in error.errors(include_url=False)}
        # Where several types would do, each has its problem: the deepest is that of the type which was meant.
        deepest = [place for place in problems if not any(other[: len(place)] == place != other for other in problems)]
        for place in deepest:
            if problems[place]["type"] == "extra_forbidden":
                mistakes.unread("", {place[-1]: None}, known.DOCUMENT)
            else:
                mistakes.add(_path(document, place), f"{problems[place]['msg']}.")
        if not all(deepest):
            mistakes.refuse()
        for place in reversed(deepest):  # from the end, so that places in lists stay what they are
            holder = document
            for part in place[:-1]:
                holder = holder[part]
            del holder[place[-1]]


def _place(document: Any, location: Sequence[str | int]) -> tuple[Any, ...]:
    """The keys and indexes of a location, without the names of types that pydantic puts among them."""
    place = []
    for part in location:
        is_there = part in document if isinstance(document, dict) else isinstance(document, list) and type(part) is int
        if is_there:
            place.append(part)
            document = document[part]
    return tuple(place)


def _path(document: Any, place: Sequence[str | int]) -> str:
    """A place as people call it: columns and rules by their names."""
    names: list[str] = []
    for part in place:
        document = document[part]
        named = document.get("name") or document.get("property") if isinstance(document, dict) else None
        names.append(part if isinstance(part, str) else str(named or f"[{part}]"))
    if names[:1] == ["schema"] and len(names) > 2:
        del names[1]  # a file has one dataset
    below = names[names.index("properties") + 1 :] if "properties" in names else []
    return join(*(name for name in below if name not in ("properties", "items"))) or join(*names) or "the document"


def _contract(document: Said, mistakes: Mistakes) -> Contract:
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
        mistakes.add("schema", f"describes {len(datasets)} datasets.", "One a file.")
    dataset = datasets[0] if datasets else {}
    form = dataset.get("physicalType") or "table"
    if datasets:
        mistakes.unread("schema", dataset, known.SCHEMA)
        mistakes.one_of("schema.physicalType", form, FORMS)
        mistakes.one_of("schema.logicalType", dataset.get("logicalType") or "object", ("object",))
    table = (dataset.get("physicalName") or dataset.get("name") or "").upper()
    for where in ("name", "domain"):
        if not document.get(where):
            mistakes.add(where, "is required.")
        elif not _NAME.fullmatch(document[where].upper()):
            mistakes.add(where, f"{document[where]!r} is no identifier.", _IDENTIFIER)
    if datasets and not _NAME.fullmatch(table):
        mistakes.add("schema.physicalName", f"{table!r} is no identifier.", _IDENTIFIER)
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
        for name, count in (
            ("partitioned", sum(column.partition for column in contract.columns)),
            ("keepTogether", sum(column.keep_together for column in contract.columns)),
        ):
            if count != 1:
                mistakes.add("schema.properties", f"{count} columns are {name}.", "A lake table has one.")
    items = _items(contract, properties, mistakes)
    names = [*contract.column_names, *(items.column_names if items else ())]
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        mistakes.add(name, "is listed twice.")
    return replace(contract, items=items)


def _columns(
    properties: Sequence[Said],
    form: str,
    mistakes: Mistakes,
    *,
    level: known.Level | None = None,
    inside: str = "",
    path: tuple[str, ...] = (),
) -> tuple[Column, ...]:
    """The columns of a record, or of the elements of its list, those of objects included."""
    columns: list[Column] = []
    for number, said in enumerate(properties):
        where = join(inside, said.get("name") or f"properties[{number}]")
        kind = said.get("logicalType") if form == "json" else None
        if kind == "object":
            mistakes.unread(where, said, known.OBJECT)
            below = (*path, _json_key(said, where, mistakes))
            nested = said.get("properties") or []
            if not nested:
                mistakes.add(where, "is an object without properties.")
            columns.extend(_columns(nested, form, mistakes, level=level, inside=where, path=below))
        elif kind == "array" and (inside or level):
            mistakes.add(where, "is a list within an object or a list.", "A record may have one list, at its top.")
        elif kind != "array":
            columns.append(_column(said, form, where, mistakes, level, path))
    return tuple(columns)


def _items(contract: Contract, properties: Sequence[Said], mistakes: Mistakes) -> Contract | None:
    """The contract of the elements of the one list that a record may have."""
    lists = [said for said in properties if contract.form == "json" and said.get("logicalType") == "array"]
    for said in lists:
        where, items = said.get("name") or "a list", said.get("items") or {}
        mistakes.unread(where, said, known.LIST)
        mistakes.unread(join(where, "items"), items, known.ELEMENT)
        mistakes.one_of(join(where, "items", "logicalType"), items.get("logicalType") or "object", ("object",))
        if not items.get("properties"):
            mistakes.add(where, "is a list of what is no object.", "A record may have one list, of objects.")
        if not _NAME.fullmatch(said.get("name") or ""):
            mistakes.add(where, "is no upper-case identifier.", _IDENTIFIER)
    if len(lists) > 1:
        names = ", ".join(str(said.get("name")) for said in lists)
        mistakes.add(names, f"are {len(lists)} lists.", "A record may have one list, of objects.")
    if len(lists) != 1:
        return None
    (said,) = lists
    name = said.get("name") or ""
    return replace(
        contract,
        name=f"{contract.name}_{name.lower()}",
        table=f"{contract.table}_{name}",
        description=_text(said),
        grain=f"One row per element of {name}.",
        columns=_columns(
            (said.get("items") or {}).get("properties") or [],
            contract.form,
            mistakes,
            level=known.ELEMENT_COLUMN,
            inside=name,
        ),
        path=(_json_key(said, name, mistakes),),
        quality=(),
    )


def _json_key(said: Said, where: str, mistakes: Mistakes) -> str:
    key = said.get("physicalName") or (said.get("name") or "").lower()
    if not _JSON_KEY.fullmatch(key):
        mistakes.add(where, f"the JSON key {key!r} cannot be addressed.", "Use letters, digits, _ and -.")
    return key


def _column(
    said: Said, form: str, where: str, mistakes: Mistakes, level: known.Level | None, path: tuple[str, ...]
) -> Column:
    level = level or {"json": known.JSON_COLUMN, "parquet": known.LAKE_COLUMN}.get(form, known.COLUMN)
    mistakes.unread(where, said, level)
    custom = mistakes.custom(where, said, level)
    name, logical = said.get("name") or "", said.get("logicalType") or ""
    if not _NAME.fullmatch(name):
        mistakes.add(where, "is no upper-case identifier.", _IDENTIFIER)
    mistakes.one_of(join(where, "logicalType"), logical, LOGICAL_TYPES)
    if said.get("classification"):
        mistakes.one_of(join(where, "classification"), said["classification"], known.CLASSIFICATIONS)
    physical = (said.get("physicalType") or "").upper().replace(" ", "")
    column = Column(
        name=name,
        logical_type=logical,
        physical_type=physical,
        description=_text(said),
        required=bool(said.get("required")),
        classification=said.get("classification"),
    )
    if form == "parquet":
        if logical in LOGICAL_TYPES and physical != LAKE_TYPES.get(logical):
            mistakes.add(
                join(where, "physicalType"),
                f"{said.get('physicalType')!r} does not fit logicalType {logical}.",
                f"Use {LAKE_TYPES[logical]}." if logical in LAKE_TYPES else f"Known: {', '.join(LAKE_TYPES)}.",
            )
        together = custom.get("keepTogether", False)
        if type(together) is not bool:
            mistakes.add(join(where, "customProperties.keepTogether"), f"{together!r} is neither true nor false.")
        return replace(column, partition=bool(said.get("partitioned")), keep_together=together is True)
    key = bool(said.get("primaryKey"))
    if key and said.get("required") is False:
        mistakes.add(join(where, "required"), "is false, but a key is always required.", "Leave it out.")
    if custom.get("blanks", "keep") != "keep" or ("blanks" in custom and logical != "string"):
        mistakes.add(join(where, "customProperties.blanks"), "is `keep`, of a string, or left out.")
    return replace(
        column,
        required=column.required or key,
        key=key,
        max_length=_width(said, physical, where, mistakes),
        accepted=accepted_values(said, where, mistakes),
        input_formats=_input_formats(custom, logical, where, mistakes),
        keep_blanks=custom.get("blanks") == "keep",
        reference=reference(said, where, mistakes),
        path=(*path, _json_key(said, where, mistakes)) if form == "json" else (),
    )


def _width(said: Said, physical: str, where: str, mistakes: Mistakes) -> int | None:
    """Characters that fit; VARCHAR(n) says so itself, as one longer value would fail the load of a whole batch."""
    logical, options = said.get("logicalType") or "", said.get("logicalTypeOptions") or {}
    if logical not in LOGICAL_TYPES:
        return None
    mistakes.unread(join(where, "logicalTypeOptions"), options, known.TYPE_OPTIONS)
    at = join(where, "physicalType")
    fit = PHYSICAL_TYPES[logical].match(physical)
    if not fit:
        mistakes.add(
            at,
            f"{said.get('physicalType')!r} does not fit logicalType {logical}.",
            "Numbers declare precision and scale, timestamps are TIMESTAMP_NTZ(6).",
        )
    elif "scale" in fit.groupdict() and not int(fit["scale"]) <= int(fit["precision"]) <= _MOST_DIGITS:
        mistakes.add(at, f"{physical} does not exist.", f"At most {_MOST_DIGITS} digits in all.")
    width = int(fit["precision"]) if fit and logical == "string" and fit["precision"] else None
    length, at = options.get("maxLength", width), join(where, "logicalTypeOptions.maxLength")
    if length is not None and logical != "string":
        mistakes.add(at, f"does not fit logicalType {logical}.", "Only strings have a length.")
    elif length is not None and (type(length) is not int or length < 1 or (width and length > width)):
        mistakes.add(at, f"{length!r} does not fit {said.get('physicalType')}.")
    return length


def _input_formats(custom: Said, logical: str, where: str, mistakes: Mistakes) -> tuple[str, ...]:
    formats = custom.get("inputFormats", ["YYYY-MM-DD"] if logical == "date" else [])
    where = join(where, "customProperties.inputFormats")
    if not isinstance(formats, list):
        mistakes.add(where, f"{formats!r} is no list.", f"Known: {', '.join(DATE_PATTERNS)}.")
        return ()
    if "inputFormats" in custom and logical != "date":
        mistakes.add(where, f"does not fit logicalType {logical}.", "Only dates have them.")
    elif logical == "date":
        unknown = [entry for entry in map(str, formats) if entry not in DATE_PATTERNS]
        if unknown or not formats:
            mistakes.add(where, f"{', '.join(unknown) or 'none'} unknown.", f"Known: {', '.join(DATE_PATTERNS)}.")
    return tuple(str(entry) for entry in formats)


def _text(said: Said) -> str:
    """A description on one line."""
    return " ".join((said.get("description") or "").split())
