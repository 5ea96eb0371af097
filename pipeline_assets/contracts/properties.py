"""The properties that a contract may have, level by level; docs/contracts.md describes the effect of each.

Any other property is refused, because its author would expect an effect and there is none. Properties for people only
(`notes`) are allowed where ignoring them cannot mislead anybody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

OPERATORS = (
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
)
RANGES = ("mustBeBetween", "mustNotBeBetween")
SEVERITIES = ("warning", "error")
ON_MISSING = ("quarantine", "load")
CLASSIFICATIONS = ("personal",)
METRICS = ("invalidValues",)
# Names of the checks in orchestration/checks.py, which a rule may not have.
BUILT_IN_CHECKS = (
    *("unique_key", "unknown_columns", "row_accounting", "quarantine", "rejected_objects"),
    *("reconciles", "latency", "lateness", "current_rows", "disjoint_intervals", "contradictory_lists"),
    "partitions",
)
# What a column is in a slowly changing dimension, with the logical type that it must have; None is any.
HISTORY_TYPES = {
    "version": None,
    "overwrite": None,
    "surrogate_key": "string",
    "valid_from": "timestamp",
    "valid_to": "timestamp",
    "is_current": "boolean",
    "deleted": "boolean",
}
AGREEMENTS = ("latency",)
HOURS_OF_UNIT = {"h": 1, "hour": 1, "hours": 1, "d": 24, "day": 24, "days": 24}


@dataclass(frozen=True)
class Level:
    """The properties of one kind of mapping: those that are read, those for people, and the custom ones."""

    name: str
    read: tuple[str, ...]
    notes: tuple[str, ...] = ()
    custom: tuple[str, ...] = ()


_NOTES = ("id", "tags", "authoritativeDefinitions")
_NAMED = (*_NOTES, "businessName", "deprecated", "synonyms")
_OF_COLUMN = (*_NAMED, "examples", "semanticType", "criticalDataElement")
_OF_QUALITY = (*_NOTES, "dimension", "method", "businessImpact")

DOCUMENT = Level(
    "the document",
    ("apiVersion", "kind", "name", "version", "domain", "description", "team", "schema", "slaProperties"),
    (*_NOTES, "status", "tenant", "dataProduct", "support", "price", "servers", "contractCreatedTs", "context"),
)
DESCRIPTION = Level("description", ("purpose",), ("usage", "limitations", "authoritativeDefinitions"))
TEAM = Level("team", ("name",), (*_NOTES, "description", "members"))
SCHEMA = Level(
    "schema",
    ("name", "physicalName", "physicalType", "dataGranularityDescription", "properties", "quality"),
    (*_NAMED, "description", "logicalType", "context"),
    ("dialect",),
)
COLUMN = Level(
    "a column",
    (
        *("name", "logicalType", "physicalType", "description", "required", "primaryKey", "classification"),
        *("logicalTypeOptions", "relationships", "quality"),
    ),
    _OF_COLUMN,
    ("blanks", "history", "inputFormats", "writesFloats", "reasonCode"),
)
JSON_COLUMN = Level(
    "a column of json",
    (*COLUMN.read, "physicalName"),
    _OF_COLUMN,
    tuple(name for name in COLUMN.custom if name != "history"),
)
# The key and the references of an element are those of its record.
ELEMENT_COLUMN = replace(
    JSON_COLUMN,
    name="a column of a list",
    read=tuple(name for name in JSON_COLUMN.read if name not in ("primaryKey", "relationships")),
)
LAKE_COLUMN = Level(
    "a column of parquet",
    ("name", "logicalType", "physicalType", "description", "required", "classification", "partitioned"),
    _OF_COLUMN,
    ("keepTogether",),
)
OBJECT = Level("an object of json", ("name", "physicalName", "logicalType", "properties"), (*_NAMED, "description"))
LIST = Level("a list of json", ("name", "physicalName", "logicalType", "description", "items"), _NAMED)
ELEMENT = Level("items", ("logicalType", "properties"), (*_NAMED, "description", "name"))
TYPE_OPTIONS = Level("logicalTypeOptions", ("maxLength", "pattern"))
REFERENCE = Level("a relationship", ("type", "to"), ("id",), ("reasonCode", "meaning", "onMissing"))
ACCEPTED_VALUES = Level(
    "quality of a column", ("type", "metric", "arguments", "mustBe"), (*_OF_QUALITY, "name", "description")
)
ARGUMENTS = Level("arguments of invalidValues", ("validValues",))
RULE = Level(
    "quality of the schema",
    ("type", "name", "description", "query", "severity", *OPERATORS),
    _OF_QUALITY,
    ("failingRows",),
)
AGREEMENT = Level(
    "slaProperties",
    ("property", "value", "unit", "element"),
    ("id", "authoritativeDefinitions", "description", "driver"),
)
DIALECT = Level("dialect", ("header", "delimiter", "escape", "encoding", "nullText"))
CUSTOM_PROPERTY = Level("customProperties", ("property", "value"), ("id", "description", "vendor"))

LEVELS = (
    *(DOCUMENT, DESCRIPTION, TEAM, SCHEMA, COLUMN, JSON_COLUMN, ELEMENT_COLUMN, LAKE_COLUMN, OBJECT, LIST, ELEMENT),
    *(TYPE_OPTIONS, REFERENCE, ACCEPTED_VALUES, ARGUMENTS, RULE, AGREEMENT, DIALECT, CUSTOM_PROPERTY),
)

# What to write instead of ODCS properties that are not read.
INSTEAD = {
    "customProperties": "None is read here.",
    "rule": "Write `metric:`.",
    "unique": "Keys are declared by `primaryKey`.",
    "primaryKeyPosition": "Columns of a key are in the order in which they are listed.",
    "enum": "Write `quality: [{metric: invalidValues, arguments: {validValues: [...]}}]`.",
    "from": "A relationship starts at the column that it stands below.",
    "transformLogic": "Lineage is read from the SELECTs in sql/.",
    "transformSourceObjects": "Lineage is read from the SELECTs in sql/.",
    "transformDescription": "Describe the SELECT in its own file in sql/.",
    "slaDefaultElement": "Write `element` in slaProperties.",
    "roles": "Roles are those of `deploy snowflake`.",
    "schedule": "Rules are checked after each batch.",
    "scheduler": "Rules are checked after each batch.",
}
