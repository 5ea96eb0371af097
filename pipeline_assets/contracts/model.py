"""The values that contracts are read into: a dataset, its columns, its references, rules and dialect.

`odcs` reads them from Open Data Contract Standard documents. A dataset is a warehouse table, landed `csv` (or Parquet)
or `json`, or `parquet` files of the lake. JSON records are flattened: the properties of an `object` become columns of
the record, an `array` becomes a contract of its own with one row per element (`Contract.items`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

LOGICAL_TYPES = ("string", "number", "integer", "date", "timestamp", "boolean")
# Date formats that are accepted on input, in Snowflake's notation, each with its pattern.
# D and M are one or two digits. The year 0000 is not accepted: engines turn it into 1 BC, and MySQL's zero date is not
# a date.
YEAR_PATTERN = "([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
TIMED_DATE = 'YYYY-MM-DD"T"HH24:MI:SSTZHTZM'
DATE_PATTERNS = {
    "YYYY-MM-DD": f"^{YEAR_PATTERN}-[0-9]{{2}}-[0-9]{{2}}$",
    "DD-MM-YYYY": f"^[0-9]{{2}}-[0-9]{{2}}-{YEAR_PATTERN}$",
    "MM/DD/YYYY": f"^[0-9]{{2}}/[0-9]{{2}}/{YEAR_PATTERN}$",
    "DD/MM/YYYY": f"^[0-9]{{2}}/[0-9]{{2}}/{YEAR_PATTERN}$",
    "YYYY/MM/DD": f"^{YEAR_PATTERN}/[0-9]{{2}}/[0-9]{{2}}$",
    "YYYYMMDD": f"^{YEAR_PATTERN}[0-9]{{4}}$",
    "YYYY-M-D": f"^{YEAR_PATTERN}-[0-9]{{1,2}}-[0-9]{{1,2}}$",
    "D-M-YYYY": f"^[0-9]{{1,2}}-[0-9]{{1,2}}-{YEAR_PATTERN}$",
    "M/D/YYYY": f"^[0-9]{{1,2}}/[0-9]{{1,2}}/{YEAR_PATTERN}$",
    "D/M/YYYY": f"^[0-9]{{1,2}}/[0-9]{{1,2}}/{YEAR_PATTERN}$",
    "YYYY/M/D": f"^{YEAR_PATTERN}/[0-9]{{1,2}}/[0-9]{{1,2}}$",
    # ISO 8601 with a time of day, with or without an offset; the date is the local one, as written.
    TIMED_DATE: (
        f"^{YEAR_PATTERN}-[0-9]{{2}}-[0-9]{{2}}[Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:([0-5][0-9]|60)([.,][0-9]+)?)?"
        "( ?([Zz]|[+-][0-9]{2}(:?[0-9]{2})?))?$"
    ),
}
MOST_FLOAT_DECIMALS = 9  # of a column with `writes_floats`: far more than round-off reaches
FORMS = ("table", "csv", "json", "parquet")
# The types of lake table columns, as Glue and Hive name them; numbers of tables may also be exact: DECIMAL(p,s).
LAKE_DECIMAL = re.compile(r"^DECIMAL\((?P<precision>\d+),(?P<scale>\d+)\)$")
LAKE_TYPES = {"string": "STRING", "number": "DOUBLE", "integer": "BIGINT", "date": "DATE", "boolean": "BOOLEAN"}
PHYSICAL_TYPES = {
    "string": re.compile(r"^VARCHAR(\((?P<precision>\d+)\))?$"),
    # In Snowflake NUMBER alone means NUMBER(38,0), which would round cents away. FLOAT is a double.
    "number": re.compile(r"^(NUMBER\((?P<precision>\d+),(?P<scale>\d+)\)|FLOAT)$"),
    "integer": re.compile(r"^NUMBER\((?P<precision>\d+),(?P<scale>0)\)$"),
    "date": re.compile(r"^DATE$"),
    "timestamp": re.compile(r"^TIMESTAMP_NTZ\((?P<precision>[0-6])\)$"),
    "boolean": re.compile(r"^BOOLEAN$"),
}


@dataclass(frozen=True)
class Reference:
    """A column whose value is the key of a row in another dataset, the parent.

    A row whose parent is missing is quarantined with `reason_code` (`meaning` explains it). With `on_missing` `load` it
    is loaded, and written again when the parent arrives.
    """

    dataset: str
    column: str
    reason_code: str
    meaning: str = ""
    on_missing: Literal["quarantine", "load"] = "quarantine"


@dataclass(frozen=True)
class QualityRule:
    """A SELECT over warehouse tables whose single value is compared with a number: ODCS `type: sql`.

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
    """How the delimited files of a dataset are written.

    `delimiter` None is a comma. `escape` is the character in front of a quote inside quotes: a second quote, or a
    backslash. `null_text` is a text that means NULL, besides the empty one.
    """

    header: bool = True
    delimiter: str | None = None
    escape: Literal['"', "\\"] = '"'
    encoding: str = "utf-8"
    null_text: str | None = None


@dataclass(frozen=True)
class Column:
    """One column. `physical_type` is Snowflake's; `input_formats` are tried in order for dates.

    A text must be one of the `accepted` values and match `pattern` as a whole, as `examples` do. `reason_code` is the
    code of rows with another value; that is then the first thing that is checked of a row. With `writes_floats` the
    source computes with binary floats, and a float that stands for a decimal of the column is read as that decimal.
    `path` is the list of keys that lead to the value in a JSON record. The value of a `partition` column is the folder
    of a lake file; rows with the same value in a `keep_together` column are in the same file. `latency_hours` is how
    old the newest value in the table may be, `history` what the column is in a history.
    """

    name: str
    logical_type: str
    physical_type: str
    description: str = ""
    required: bool = False
    key: bool = False
    max_length: int | None = None
    accepted: tuple[str, ...] = ()
    pattern: str | None = None
    examples: tuple[str, ...] = ()
    reason_code: str | None = None
    input_formats: tuple[str, ...] = ()
    keep_blanks: bool = False
    writes_floats: bool = False
    classification: str | None = None
    reference: Reference | None = None
    path: tuple[str, ...] = ()
    partition: bool = False
    keep_together: bool = False
    latency_hours: float | None = None
    history: str = ""

    @property
    def personal(self) -> bool:
        return self.classification == "personal"

    @property
    def is_float(self) -> bool:
        """Whether the values of a warehouse table are binary floats."""
        return self.physical_type == "FLOAT"

    @property
    def precision_and_scale(self) -> tuple[int, int]:
        match = PHYSICAL_TYPES[self.logical_type].match(self.physical_type)
        assert match is not None  # `odcs` refuses all other types
        assert not self.is_float
        return int(match["precision"]), int(match["scale"])


@dataclass(frozen=True)
class Contract:
    """The shape of one dataset: landed files (`form` is csv or json) or a warehouse table.

    `items` is the shape of the elements of the list at `items.path` in each JSON record. A contract that `is_open`
    declares some columns; each run learns the others, and creates the table.
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
    is_open: bool = False

    @cached_property
    def key(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.key)

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def required(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.required)

    @cached_property
    def floats(self) -> tuple[Column, ...]:
        """The columns in which the source writes binary floats."""
        return tuple(column for column in self.columns if column.writes_floats)

    def within(self, record: Contract) -> Contract:
        """The columns of an element together with those of its record."""
        return replace(self, columns=(*self.columns, *record.columns))

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)
