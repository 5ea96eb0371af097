"""Read Open Data Contract Standard (ODCS 3.x) documents into the values the platform works with.

One file describes one dataset, so the first entry of `schema` is the dataset; its `physicalType` says whether it is
a `table`, landed `csv` or `json`, or `parquet` files of the lake. The surprising part is what ODCS has no word for,
kept in `customProperties` of a property: `blanks: keep` (free text, not trimmed) and `inputFormats` (date formats
accepted on input, in Snowflake's notation, tried in order); in lake files `keepTogether` (see `Column`).

JSON records are flattened: a property of type `object` lends its own properties to the record, one of type `array`
becomes a contract of its own, one row per element (`Contract.items`). `physicalName` is the key in the JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline_assets.errors import ContractError

if TYPE_CHECKING:
    from open_data_contract_standard.model import OpenDataContractStandard, SchemaProperty

LOGICAL_TYPES = ("string", "number", "integer", "date", "timestamp", "boolean")
# Date formats accepted on input, in Snowflake's notation, and what each looks like.
# The year 0000 is no year: engines make 1 BC of it, and MySQL's zero date is no date.
YEAR_PATTERN = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
TIMED_DATE = 'YYYY-MM-DD"T"HH24:MI:SSTZHTZM'
DATE_PATTERNS = {
    "YYYY-MM-DD": f"^{YEAR_PATTERN}-[0-9]{{2}}-[0-9]{{2}}$",
    "DD-MM-YYYY": f"^[0-9]{{2}}-[0-9]{{2}}-{YEAR_PATTERN}$",
    "MM/DD/YYYY": f"^[0-9]{{2}}/[0-9]{{2}}/{YEAR_PATTERN}$",
    "DD/MM/YYYY": f"^[0-9]{{2}}/[0-9]{{2}}/{YEAR_PATTERN}$",
    "YYYYMMDD": f"^{YEAR_PATTERN}[0-9]{{4}}$",
    # ISO 8601 with a time of day, and with or without an offset: the day is the one that its own clock showed.
    TIMED_DATE: (
        f"^{YEAR_PATTERN}-[0-9]{{2}}-[0-9]{{2}}[T ]([01][0-9]|2[0-3]):[0-5][0-9](:([0-5][0-9]|60)([.,][0-9]+)?)?"
        "([Zz]|[+-][0-9]{2}(:?[0-9]{2})?)?$"
    ),
}
FORMS = ("table", "csv", "json", "parquet")
# What the columns of lake tables are, in the words of Glue and Hive.
LAKE_TYPES = {"string": "STRING", "number": "DOUBLE", "integer": "BIGINT", "date": "DATE", "boolean": "BOOLEAN"}
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
_JSON_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MOST_DIGITS = 38  # of a NUMBER in Snowflake
_PHYSICAL = {
    "string": re.compile(r"^VARCHAR(\((?P<precision>\d+)\))?$"),
    # NUMBER alone means NUMBER(38,0) to Snowflake: it would round cents away.
    "number": re.compile(r"^NUMBER\((?P<precision>\d+),(?P<scale>\d+)\)$"),
    "integer": re.compile(r"^NUMBER\((?P<precision>\d+),(?P<scale>0)\)$"),
    "date": re.compile(r"^DATE$"),
    "timestamp": re.compile(r"^TIMESTAMP_NTZ\((?P<precision>[0-6])\)$"),
    "boolean": re.compile(r"^BOOLEAN$"),
}


@dataclass(frozen=True)
class Reference:
    """A value that names a row of another dataset by its key.

    A row whose parent is not known waits in quarantine as `reason_code` (`meaning` says what that is), or is loaded
    where `on_missing` is `load` and written again when the parent comes.
    """

    dataset: str
    column: str
    reason_code: str
    meaning: str = ""
    on_missing: Literal["quarantine", "load"] = "quarantine"


@dataclass(frozen=True)
class QualityRule:
    """A SELECT over tables of the warehouse whose only value is compared: ODCS `type: sql`.

    `operator` is ODCS's (`mustBe`, `mustBeGreaterThan`, …), `failing_rows` a SELECT of the rows that break the rule.
    """

    name: str
    description: str
    query: str
    operator: str
    expected: float | tuple[float, float]
    severity: Literal["warning", "error"] = "error"
    failing_rows: str = ""


@dataclass(frozen=True)
class Dialect:
    """How delimited files are written, as far as their producer has to say it.

    `delimiter` of None is a comma. `escape` is what a quote inside quotes is written with: a second
    quote, or a backslash. `null_text` is a text that stands for no value, besides the empty one.
    """

    header: bool = True
    delimiter: str | None = None
    escape: Literal['"', "\\"] = '"'
    encoding: str = "utf-8"
    null_text: str | None = None


@dataclass(frozen=True)
class Column:
    """One column. `physical_type` is Snowflake's; `input_formats` are tried in order for dates.

    `path` are the keys that lead to the value in a JSON record. A `partition` column of lake files is the folder that
    they lie in; rows with one value in a `keep_together` column are in one file.
    """

    name: str
    logical_type: str
    physical_type: str
    description: str = ""
    required: bool = False
    key: bool = False
    max_length: int | None = None
    accepted: tuple[str, ...] = ()
    input_formats: tuple[str, ...] = ()
    keep_blanks: bool = False
    classification: str | None = None
    reference: Reference | None = None
    path: tuple[str, ...] = ()
    partition: bool = False
    keep_together: bool = False

    @property
    def personal(self) -> bool:
        return self.classification == "personal"

    @property
    def precision_and_scale(self) -> tuple[int, int]:
        match = _PHYSICAL[self.logical_type].match(self.physical_type)
        assert match is not None  # checked when the contract was read
        return int(match["precision"]), int(match["scale"])


@dataclass(frozen=True)
class Contract:
    """The shape of one dataset: landed files (`form` is csv or json) or a warehouse table.

    `items` is the shape of the elements of the list at `items.path` in each JSON record.
    """

    name: str
    table: str
    version: str
    domain: str
    description: str
    grain: str
    owner: str
    columns: tuple[Column, ...]
    form: str = "table"
    items: Contract | None = None
    path: tuple[str, ...] = ()
    dialect: Dialect = Dialect()
    quality: tuple[QualityRule, ...] = ()

    @cached_property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.key)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.required)

    def within(self, record: Contract) -> Contract:
        """The shape of an element together with the record that it lies in."""
        return replace(self, columns=(*self.columns, *record.columns))

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def load_contract(path: Path) -> Contract:
    """Read one ODCS document.

    Raises:
        ContractError: the file is missing, is no ODCS, or asks for what cannot be kept; the message names
            the file and the property.
    """
    import yaml
    from open_data_contract_standard.model import OpenDataContractStandard
    from pydantic import ValidationError

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ContractError(f"{path.name}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ContractError(f"{path.name}: is not UTF-8.", remedy="Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise ContractError(f"{path.name}{line}: is not YAML.", remedy="Mend the indentation there.") from None
    if not isinstance(document, dict):
        raise ContractError(f"{path.name}: is not an ODCS document.", remedy="It needs apiVersion and schema.")
    try:
        return _contract(path.name, OpenDataContractStandard.model_validate(document))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ContractError(f"{path.name}: {where}: {problem['msg']}.") from None


def _contract(file: str, document: OpenDataContractStandard) -> Contract:
    if not (document.apiVersion or "").startswith("v3."):
        raise ContractError(f"{file}: apiVersion is {document.apiVersion!r}.", remedy="Use ODCS v3.")
    if len(document.schema_ or []) != 1:
        raise ContractError(f"{file}: describes {len(document.schema_ or [])} datasets.", remedy="One a file.")
    (dataset,) = document.schema_
    form = dataset.physicalType or "table"
    if form not in FORMS:
        raise ContractError(f"{file}: physicalType {form!r} is unknown.", remedy=f"Known: {', '.join(FORMS)}.")
    if not document.name or not document.domain:
        raise ContractError(f"{file}: name and domain are required.")
    table = (dataset.physicalName or dataset.name or "").upper()
    for what, name in (("name", document.name), ("domain", document.domain), ("physicalName", table)):
        if not _NAME.fullmatch(name.upper()):
            raise ContractError(f"{file}: {what}: {name!r} is no identifier.", remedy="Use letters, digits and _.")
    contract = Contract(
        name=document.name,
        table=table,
        version=document.version or "0",
        domain=document.domain,
        description=(document.description.purpose if document.description else None) or "",
        grain=dataset.dataGranularityDescription or "",
        owner=getattr(document.team, "name", None) or "data-engineering",
        columns=_columns(file, form, dataset.properties or []),
        form=form,
    )
    if not contract.columns:
        raise ContractError(f"{file}: schema {dataset.name} has no properties.")
    items = _items(file, contract, dataset.properties or [])
    names = [*contract.column_names, *(items.column_names if items else ())]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ContractError(f"{file}: {', '.join(sorted(twice))}: listed twice.")
    return replace(contract, items=items)


def _columns(
    file: str, form: str, properties: Sequence[SchemaProperty], parents: tuple[str, ...] = ()
) -> tuple[Column, ...]:
    """The columns of a record, those of its objects included."""
    columns: list[Column] = []
    for prop in properties:
        path = (*parents, _json_key(prop)) if form == "json" else ()
        if form == "json" and prop.logicalType == "object":
            columns.extend(_columns(file, form, prop.properties or [], path))
        elif not (form == "json" and prop.logicalType == "array"):
            columns.append(replace(_column(file, form, prop), path=path))
    return tuple(columns)


def _items(file: str, contract: Contract, properties: Sequence[SchemaProperty]) -> Contract | None:
    """The contract of the elements of the one list that a record may have."""
    lists = [prop for prop in properties if contract.form == "json" and prop.logicalType == "array"]
    if not lists:
        return None
    if len(lists) > 1 or not lists[0].items or not lists[0].items.properties:
        raise ContractError(
            f"{file}: {', '.join(str(prop.name) for prop in lists)}: one list of objects a record, and not more."
        )
    (prop,) = lists
    if not _NAME.fullmatch(prop.name or ""):
        raise ContractError(f"{file}: {prop.name}: is no upper-case identifier.", remedy="Use letters, digits and _.")
    return replace(
        contract,
        name=f"{contract.name}_{(prop.name or '').lower()}",
        table=f"{contract.table}_{prop.name}",
        description=" ".join((prop.description or "").split()),
        grain=f"One row per element of {prop.name}.",
        columns=_columns(file, contract.form, prop.items.properties),
        path=(_json_key(prop),),
    )


def _json_key(prop: SchemaProperty) -> str:
    key = prop.physicalName or (prop.name or "").lower()
    if not _JSON_KEY.fullmatch(key):
        raise ContractError(
            f"{prop.name}: the JSON key {key!r} cannot be addressed.", remedy="Use letters, digits, _ -."
        )
    return key


def _column(file: str, form: str, prop: SchemaProperty) -> Column:
    name, where = prop.name or "", f"{file}: {prop.name}"
    if not _NAME.fullmatch(name):
        raise ContractError(f"{where}: is no upper-case identifier.", remedy="Use letters, digits and _.")
    logical = prop.logicalType or ""
    if logical not in LOGICAL_TYPES:
        raise ContractError(
            f"{where}: logicalType {logical!r} is unknown.", remedy=f"Known: {', '.join(LOGICAL_TYPES)}."
        )
    physical = (prop.physicalType or "").upper().replace(" ", "")
    custom = {entry.property: entry.value for entry in prop.customProperties or []}
    if form == "parquet":
        if physical != LAKE_TYPES.get(logical):
            raise ContractError(f"{where}: physicalType {physical!r}.", remedy=f"Use {LAKE_TYPES.get(logical)}.")
        return Column(
            name=name,
            logical_type=logical,
            physical_type=physical,
            description=" ".join((prop.description or "").split()),
            required=bool(prop.required),
            classification=prop.classification,
            partition=bool(prop.partitioned),
            keep_together=custom.get("keepTogether") is True,
        )
    fit = _PHYSICAL[logical].match(physical)
    if not fit:
        raise ContractError(
            f"{where}: physicalType {prop.physicalType!r} does not fit logicalType {logical}.",
            remedy="Numbers declare precision and scale, timestamps are TIMESTAMP_NTZ(6).",
        )
    if "scale" in fit.groupdict() and not int(fit["scale"]) <= int(fit["precision"]) <= _MOST_DIGITS:
        raise ContractError(f"{where}: {physical} does not exist.", remedy=f"At most {_MOST_DIGITS} digits in all.")
    formats = [str(entry) for entry in custom.get("inputFormats", ["YYYY-MM-DD"] if logical == "date" else [])]
    unknown = [entry for entry in formats if entry not in DATE_PATTERNS]
    if unknown or (logical == "date" and not formats):
        raise ContractError(
            f"{where}: inputFormats {', '.join(unknown) or 'none'} unknown.",
            remedy=f"Known: {', '.join(DATE_PATTERNS)}.",
        )
    return Column(
        name=name,
        logical_type=logical,
        physical_type=physical,
        description=" ".join((prop.description or "").split()),
        required=bool(prop.required or prop.primaryKey),
        key=bool(prop.primaryKey),
        max_length=_max_length(where, prop, fit),
        accepted=_accepted(prop),
        input_formats=tuple(formats),
        keep_blanks=custom.get("blanks") == "keep",
        classification=prop.classification,
        reference=_reference(where, prop),
    )


def _max_length(where: str, prop: SchemaProperty, fit: re.Match[str]) -> int | None:
    """Characters that fit; VARCHAR(n) says so itself, as one longer value would fail the load of a whole batch."""
    width = int(fit["precision"]) if prop.logicalType == "string" and fit["precision"] else None
    length = (prop.logicalTypeOptions or {}).get("maxLength", width)
    if length is not None and (type(length) is not int or length < 1 or (width and length > width)):
        raise ContractError(f"{where}: maxLength {length!r} does not fit {prop.physicalType}.")
    return length


def _accepted(prop: SchemaProperty) -> tuple[str, ...]:
    for rule in prop.quality or []:
        if rule.metric == "invalidValues":
            return tuple(str(value) for value in (rule.arguments or {}).get("validValues", []))
    return ()


def _reference(where: str, prop: SchemaProperty) -> Reference | None:
    for relationship in prop.relationships or []:
        dataset, dot, column = str(relationship.to or "").partition(".")
        if not dot or not _NAME.fullmatch(dataset.upper()) or not _NAME.fullmatch(column.upper()):
            raise ContractError(f"{where}: relationship to {relationship.to!r}.", remedy="Write dataset.COLUMN.")
        custom: dict[str | None, Any] = {c.property: c.value for c in relationship.customProperties or []}
        return Reference(dataset, column.upper(), str(custom.get("reasonCode", "missing_reference")))
    return None
