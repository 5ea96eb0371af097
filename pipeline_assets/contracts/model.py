"""Read Open Data Contract Standard (ODCS 3.x) documents into the values the platform works with.

One file describes one dataset, so the first entry of `schema` is the dataset. The surprising part is what ODCS
has no word for, kept in `customProperties` of a property: `blanks: keep` (free text, not trimmed) and
`inputFormats` (date formats accepted on input, in Snowflake's notation, tried in order).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets.errors import ContractError

if TYPE_CHECKING:
    from open_data_contract_standard.model import OpenDataContractStandard, SchemaProperty

LOGICAL_TYPES = ("string", "number", "integer", "date", "timestamp", "boolean")
# Date formats accepted on input, in Snowflake's notation, and what each looks like.
DATE_PATTERNS = {
    "YYYY-MM-DD": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "DD-MM-YYYY": "^[0-9]{2}-[0-9]{2}-[0-9]{4}$",
    "MM/DD/YYYY": "^[0-9]{2}/[0-9]{2}/[0-9]{4}$",
    "DD/MM/YYYY": "^[0-9]{2}/[0-9]{2}/[0-9]{4}$",
    "YYYYMMDD": "^[0-9]{8}$",
}
_NAME = re.compile(r"^[A-Z][A-Z0-9_]*$")
_PHYSICAL = {
    "string": re.compile(r"^VARCHAR(\((?P<precision>\d+)\))?$"),
    # NUMBER alone means NUMBER(38,0) to Snowflake: it would round cents away.
    "number": re.compile(r"^NUMBER\((?P<precision>\d+),(?P<scale>\d+)\)$"),
    "integer": re.compile(r"^NUMBER\((?P<precision>\d+),(?P<scale>0)\)$"),
    "date": re.compile(r"^DATE$"),
    "timestamp": re.compile(r"^TIMESTAMP_NTZ\((?P<precision>\d)\)$"),
    "boolean": re.compile(r"^BOOLEAN$"),
}


@dataclass(frozen=True)
class Reference:
    """A value that must exist in another dataset; rows without it wait in quarantine as `reason_code`."""

    dataset: str
    column: str
    reason_code: str


@dataclass(frozen=True)
class Column:
    """One column. `physical_type` is Snowflake's; `input_formats` are tried in order for dates."""

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
    """The shape of one dataset: a landed file, a warehouse table or both."""

    name: str
    table: str
    version: str
    domain: str
    description: str
    grain: str
    owner: str
    columns: tuple[Column, ...]

    @cached_property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.key)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.required)

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
    columns = tuple(_column(file, prop) for prop in dataset.properties or [])
    if not columns:
        raise ContractError(f"{file}: schema {dataset.name} has no properties.")
    names = [column.name for column in columns]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ContractError(f"{file}: {', '.join(sorted(twice))}: listed twice.")
    if not document.name or not document.domain:
        raise ContractError(f"{file}: name and domain are required.")
    return Contract(
        name=document.name,
        table=(dataset.physicalName or dataset.name or "").upper(),
        version=document.version or "0",
        domain=document.domain,
        description=(document.description.purpose if document.description else None) or "",
        grain=dataset.dataGranularityDescription or "",
        owner=getattr(document.team, "name", None) or "data-engineering",
        columns=columns,
    )


def _column(file: str, prop: SchemaProperty) -> Column:
    name, where = prop.name or "", f"{file}: {prop.name}"
    if not _NAME.match(name):
        raise ContractError(f"{where}: is no upper-case identifier.", remedy="Use letters, digits and _.")
    logical = prop.logicalType or ""
    if logical not in LOGICAL_TYPES:
        raise ContractError(
            f"{where}: logicalType {logical!r} is unknown.", remedy=f"Known: {', '.join(LOGICAL_TYPES)}."
        )
    physical = (prop.physicalType or "").upper().replace(" ", "")
    if not _PHYSICAL[logical].match(physical):
        raise ContractError(
            f"{where}: physicalType {prop.physicalType!r} does not fit logicalType {logical}.",
            remedy="Numbers declare precision and scale, timestamps are TIMESTAMP_NTZ(6).",
        )
    options = prop.logicalTypeOptions or {}
    custom = {entry.property: entry.value for entry in prop.customProperties or []}
    formats = [str(entry) for entry in custom.get("inputFormats", ["YYYY-MM-DD"] if logical == "date" else [])]
    if unknown := [entry for entry in formats if entry not in DATE_PATTERNS]:
        raise ContractError(
            f"{where}: inputFormats {', '.join(unknown)} unknown.",
            remedy=f"Known: {', '.join(DATE_PATTERNS)}.",
        )
    return Column(
        name=name,
        logical_type=logical,
        physical_type=physical,
        description=" ".join((prop.description or "").split()),
        required=bool(prop.required or prop.primaryKey),
        key=bool(prop.primaryKey),
        max_length=options.get("maxLength"),
        accepted=_accepted(prop),
        input_formats=tuple(formats),
        keep_blanks=custom.get("blanks") == "keep",
        classification=prop.classification,
        reference=_reference(where, prop),
    )


def _accepted(prop: SchemaProperty) -> tuple[str, ...]:
    for rule in prop.quality or []:
        if rule.metric == "invalidValues":
            return tuple(str(value) for value in (rule.arguments or {}).get("validValues", []))
    return ()


def _reference(where: str, prop: SchemaProperty) -> Reference | None:
    for relationship in prop.relationships or []:
        dataset, dot, column = str(relationship.to or "").partition(".")
        if not dot:
            raise ContractError(f"{where}: relationship to {relationship.to!r}.", remedy="Write dataset.COLUMN.")
        custom: dict[str | None, Any] = {c.property: c.value for c in relationship.customProperties or []}
        return Reference(dataset, column.upper(), str(custom.get("reasonCode", "missing_reference")))
    return None
