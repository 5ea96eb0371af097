"""The values that contracts are read into: a dataset, its columns, its references, rules and dialect.

`odcs` reads them from Open Data Contract Standard documents. A dataset is a warehouse table, landed `csv` or `json`, or
`parquet` files of the lake. JSON records are flattened: a property of type `object` lends its own properties to the
record, one of type `array` becomes a contract of its own, one row per element (`Contract.items`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

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
PHYSICAL_TYPES = {
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
        match = PHYSICAL_TYPES[self.logical_type].match(self.physical_type)
        assert match is not None  # `odcs` refuses every other
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
