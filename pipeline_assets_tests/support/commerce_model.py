"""What must come of delivered customers and orders, computed in plain Python, and the mart once more in plain SQL.

Every value is a text or None, so that rows compare whatever a column's type is: numbers without trailing zeros, days as
YYYY-MM-DD. `texts` makes such rows of what a warehouse returns. The model rejects no whole object, and an order
needs no customer to be loaded.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

Row = tuple[str | None, ...]

COLUMNS = {
    "customers": (
        "C_CUSTKEY",
        "C_NAME",
        "C_ADDRESS",
        "C_NATIONKEY",
        "C_PHONE",
        "C_ACCTBAL",
        "C_MKTSEGMENT",
        "C_COMMENT",
    ),
    "orders": (
        "O_ORDERKEY",
        "O_CUSTKEY",
        "O_ORDERSTATUS",
        "O_TOTALPRICE",
        "O_ORDERDATE",
        "O_ORDERPRIORITY",
        "O_CLERK",
        "O_SHIPPRIORITY",
        "O_COMMENT",
    ),
}
KEPT_BLANKS = {"C_COMMENT", "O_COMMENT"}
MONEY = {"C_ACCTBAL", "O_TOTALPRICE"}
DATES = {"O_ORDERDATE"}
MART_COLUMNS = ("CUSTOMER_KEY", "CUSTOMER_NAME", "ORDER_DATE", "ORDER_TOTAL_PRICE", "ORDER_COUNT")

_LANDED = re.compile(r"firehose/(customers|orders)/landing/.*-(\d{4}(?:-\d\d){5})-[^/]+")
_AMOUNT = re.compile(r"[+-]?\d{1,10}(\.\d{1,2})?")  # NUMBER(12,2)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Expected:
    """Rows as multisets, in the order of COLUMNS and MART_COLUMNS.

    `customer_raw` and `orders_raw` have every accepted record, `customers` and `orders` the newest of each key.
    `quarantined` counts (dataset, reason code, record as it stood); `read` counts records by dataset.
    """

    customer_raw: Counter[Row]
    orders_raw: Counter[Row]
    customers: Counter[Row]
    orders: Counter[Row]
    mart: Counter[Row]
    quarantined: Counter[tuple[str, str, str]]
    read: Counter[str]

    @property
    def quarantined_codes(self) -> Counter[tuple[str, str]]:
        """How many records of each (dataset, reason code) are quarantined."""
        codes: Counter[tuple[str, str]] = Counter()
        for (dataset, code, _), number in self.quarantined.items():
            codes[dataset, code] += number
        return codes


def expected(deliveries: Iterable[tuple[str, bytes]]) -> Expected:
    """What the tables must have after these landed objects (key, bytes), delivered in any order, once or again.

    A record is newer if its object's delivery time is later (the time in the key, then the key), or if it follows in
    the same object.

    Raises:
        ValueError: a key is no landing key, or has two contents.
    """
    objects: dict[str, bytes] = {}
    for key, content in deliveries:
        if objects.setdefault(key, content) != content:
            raise ValueError(f"{key} was delivered with two contents, which the model does not order")
    raw: dict[str, list[Row]] = {dataset: [] for dataset in COLUMNS}
    quarantined: Counter[tuple[str, str, str]] = Counter()
    read: Counter[str] = Counter()
    for key in sorted(objects, key=lambda key: (landed(key)[1], key)):
        dataset, _ = landed(key)
        for fields, record in _records(dataset, objects[key].decode("utf-8-sig")):
            read[dataset] += 1
            values = _typed(dataset, fields)
            if isinstance(values, str):
                quarantined[dataset, values, record] += 1
            else:
                raw[dataset].append(values)
    # The last record of each key is the newest, as records are in the order of their versions.
    customers, orders = ({row[0]: row for row in raw[dataset]} for dataset in COLUMNS)
    return Expected(
        Counter(raw["customers"]),
        Counter(raw["orders"]),
        Counter(customers.values()),
        Counter(orders.values()),
        _mart(customers, orders.values()),
        quarantined,
        read,
    )


def landed(key: str) -> tuple[str, datetime]:
    """The dataset and the delivery time of a landed object.

    Raises:
        ValueError: its key is no landing key.
    """
    found = _LANDED.fullmatch(key)
    if found is None:
        raise ValueError(f"{key} is no key of a landed object")
    return found[1], datetime.strptime(found[2], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC)


def texts(rows: Iterable[Sequence[object]]) -> Counter[Row]:
    """Rows of a warehouse in the form of the model's."""
    return Counter(tuple(_text(value) for value in row) for row in rows)


def mart_by_duckdb(customers: Path, orders: Path) -> Counter[Row]:
    """The mart as DuckDB computes it over the two whole files, each in the order of its stream."""
    import duckdb

    with duckdb.connect() as connection:
        return texts(connection.execute(mart_sql(customers, orders)).fetchall())


def mart_sql(customers: Path, orders: Path, *, bad: bool = True) -> str:
    """The SELECT of the mart over two whole files, or two patterns of files that sort by their time.

    It leaves bad records out, one file after another; without any (`bad=False`), files are read in parallel.
    """
    return f"""
        WITH customers AS ({_newest("customers", customers, "C_CUSTKEY", "C_ACCTBAL", bad)}),
        orders AS ({_newest("orders", orders, "O_ORDERKEY", "O_TOTALPRICE", bad)})
        SELECT
            C_CUSTKEY AS CUSTOMER_KEY,
            C_NAME AS CUSTOMER_NAME,
            CAST(O_ORDERDATE AS DATE) AS ORDER_DATE,
            SUM(CAST(O_TOTALPRICE AS DECIMAL(12, 2))) AS ORDER_TOTAL_PRICE,
            COUNT(*) AS ORDER_COUNT
        FROM orders
        INNER JOIN customers ON O_CUSTKEY = C_CUSTKEY
        WHERE O_ORDERSTATUS = 'F'
        GROUP BY ALL
    """


def _newest(dataset: str, path: Path, key: str, amount: str, bad: bool) -> str:
    columns = ", ".join(f"'{name}': 'VARCHAR'" for name in COLUMNS[dataset])
    tolerance = "ignore_errors = true, parallel = false, " if bad else ""
    file = (
        f"read_csv('{path}', auto_detect = false, header = false, {tolerance}"
        f"delim = ',', quote = '\"', escape = '\"', columns = {{{columns}}})"
    )
    return f"""
        SELECT * FROM (SELECT *, row_number() OVER () AS LINE FROM {file})
        WHERE {key} IS NOT NULL AND TRY_CAST({amount} AS DECIMAL(12, 2)) IS NOT NULL
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY LINE DESC) = 1
    """


def _records(dataset: str, text: str) -> Iterator[tuple[list[str], str]]:
    """The records of an object as fields and as they stand, without a header that somebody uploaded."""
    lines = io.StringIO(text, newline="").readlines()
    reader, start = csv.reader(lines, strict=True), 0
    for number, fields in enumerate(reader):
        record = "".join(lines[start : reader.line_num])
        start = reader.line_num
        if number > 0 or tuple(field.strip().upper() for field in fields) != COLUMNS[dataset]:
            yield fields, record.removesuffix("\n").removesuffix("\r")


def _typed(dataset: str, fields: list[str]) -> Row | str:
    """The values of a record, or the reason code of the first rule that it breaks."""
    columns = COLUMNS[dataset]
    if len(fields) != len(columns):
        return "malformed_record"
    kept = (field if name in KEPT_BLANKS else field.strip(" ") for name, field in zip(columns, fields, strict=True))
    values: dict[str, str | None] = {name: field or None for name, field in zip(columns, kept, strict=True)}
    if values[columns[0]] is None:
        return "missing_key"
    for name in MONEY & values.keys():
        if (amount := values[name]) is not None:
            if not _AMOUNT.fullmatch(amount):
                return "not_a_number"
            values[name] = _text(Decimal(amount))
    for name in DATES & values.keys():
        if (day := values[name]) is not None and not _is_date(day):
            return "not_a_date"
    return tuple(values.values())


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return bool(_DAY.fullmatch(text))


def _mart(customers: dict[str | None, Row], orders: Iterable[Row]) -> Counter[Row]:
    prices: dict[tuple[str | None, str | None], list[Decimal]] = defaultdict(list)
    for order in orders:
        values = dict(zip(COLUMNS["orders"], order, strict=True))
        if values["O_ORDERSTATUS"] == "F" and values["O_CUSTKEY"] in customers:
            prices[values["O_CUSTKEY"], values["O_ORDERDATE"]].append(Decimal(values["O_TOTALPRICE"] or 0))
    return Counter(
        (key, customers[key][1], day, _text(sum(found, Decimal(0))), str(len(found)))
        for (key, day), found in prices.items()
    )


def _text(value: object) -> str | None:
    if value is None:
        return None
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
