"""Flattening agrees with plain Python: any orders, clean or dirty, in any layout, come to the same rows.

The model below was written from the contract of orders and the promises of the platform; it knows nothing of the
engine or of the rules that it generates.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets_tests.support.delivered_orders import (
    LEFT_OUT,
    bad_of,
    customer,
    delivered,
    name,
    order,
    product,
    text,
)

# --- the model -----------------------------------------------------------------------------------------------


class Number(str):
    """A number of the JSON, as its digits stood."""


@dataclass(frozen=True)
class Field:
    """A column: its key, its kind and what it must keep."""

    name: str
    key: str
    kind: str = "text"
    required: str = ""  # the code when it is missing
    longest: int = 64
    trimmed: bool = True


FIELDS = (
    Field("ORDER_ID", "order_id", required="missing_key"),
    Field("ORDER_DATE", "order_date", "day", required="missing_value"),
    Field("ORDERED_AT", "order_date"),
    Field("TOTAL_AMOUNT", "total_amount", "money"),
)
PERSON = (
    Field("CUSTOMER_ID", "customer_id"),
    Field("CUSTOMER_NAME", "name", longest=200),
    Field("EMAIL", "email", longest=320),
    Field("ADDRESS", "address", longest=2000, trimmed=False),
)
ITEM = (
    Field("PRODUCT_ID", "product_id"),
    Field("PRODUCT_NAME", "name", longest=500),
    Field("CATEGORY", "category", longest=200),
    Field("PRICE", "price", "money"),
    Field("QUANTITY", "quantity", "whole", required="missing_value"),
)
TIME = r"[Tt ]([01]\d|2[0-3]):[0-5]\d(:([0-5]\d|60)([.,]\d+)?)?( ?([Zz]|[+-]\d\d(:?\d\d)?))?"


class Bad(Exception):
    """A record is bad, with this code."""


def cleaned(field: Field, found: object) -> str | None:
    if found is None:
        return None
    shown = str(found)
    if isinstance(found, dict | list):
        shown = json.dumps(plain(found), separators=(",", ":"))
    elif isinstance(found, Number) and field.kind == "text" and re.fullmatch(r"-?\d+[.]0+", shown):
        shown = shown.partition(".")[0]
    if field.trimmed:
        shown = shown.strip(" " if field.kind == "text" else " \t\u00a0")
    return shown or None


def money(shown: str, whole: int, places: int) -> Decimal:
    if not re.fullmatch(r"[+-]?(\d+([.]\d*)?|[.]\d+)([eE][+-]?\d{1,2})?", shown, re.ASCII):
        raise Bad("not_a_number")
    value = Decimal(shown)
    if abs(value) >= 10**whole or value != round(value, places):
        raise Bad("not_a_number")
    return value


def day(shown: str) -> date:
    if not re.fullmatch(rf"\d{{4}}-\d\d-\d\d({TIME})?", shown, re.ASCII):
        raise Bad("not_a_date")
    try:
        return date.fromisoformat(shown[:10])
    except ValueError:
        raise Bad("not_a_date") from None


def row_of(fields: tuple[Field, ...], values: dict[str, object]) -> dict[str, object]:
    """Typed columns; faults are reported in the order wrong type, missing key, missing value, the rest by column."""
    for field in fields:
        keeps_json = field.kind == "text" and field.required != "missing_key"
        if isinstance(values[field.name], bool if keeps_json else dict | list | bool):
            raise Bad("wrong_type")
    texts = {field.name: cleaned(field, values[field.name]) for field in fields}
    for field in fields:
        if field.required and texts[field.name] is None:
            raise Bad(field.required)
    row: dict[str, object] = {}
    for field in fields:
        shown = texts[field.name]
        if shown is None:
            row[field.name] = None
        elif field.kind == "money":
            row[field.name] = money(shown, 14, 4)
        elif field.kind == "whole":
            row[field.name] = money(shown, 18, 0)
        elif field.kind == "day":
            row[field.name] = day(shown)
        elif len(shown) > field.longest:
            raise Bad("too_long")
        else:
            row[field.name] = shown
    return row


def names_twice(pairs: object) -> bool:
    return isinstance(pairs, Pairs) and len({key for key, _ in pairs.entries}) < len(pairs.entries)


class Pairs(dict):
    """A JSON object that remembers all of its entries."""

    def __init__(self, entries: list) -> None:
        super().__init__(entries)
        self.entries = entries


def others(found: dict, *known: str) -> dict:
    return {key: plain(value) for key, value in found.items() if key not in known}


def plain(value: object) -> object:
    """A value as Python's JSON reads it, to be compared with what was rescued."""
    if isinstance(value, Number):
        return json.loads(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def flatten(raw: str) -> tuple[dict, list[dict]]:
    """(order, lines) of one record."""
    try:
        record = json.loads(raw, parse_int=Number, parse_float=Number, object_pairs_hook=Pairs)
    except ValueError:
        raise Bad("malformed_record") from None
    if not isinstance(record, dict) or names_twice(record):
        raise Bad("malformed_record")
    if "order_id" not in record:  # a key may be in another case
        record = Pairs([("order_id" if key == "Order_Id" else key, value) for key, value in record.items()])
    person, items = record.get("customer"), record.get("products")
    elements = items if isinstance(items, list) else []
    if names_twice(person) or any(names_twice(element) for element in elements):
        raise Bad("malformed_record")
    if not isinstance(person, dict | None) or not isinstance(items, list | None):
        raise Bad("wrong_type")
    values = {field.name: record.get(field.key) for field in FIELDS}
    values |= {field.name: (person or {}).get(field.key) for field in PERSON}
    row = row_of((*FIELDS, *PERSON), values)
    rescued = others(record, "order_id", "order_date", "total_amount", "customer", "products")
    if beside := others(person or {}, *(field.key for field in PERSON)):
        rescued["customer"] = beside
    lines = []
    for position, element in enumerate(elements, 1):
        found = element if isinstance(element, dict) else {}
        line = row_of(ITEM, {field.name: found.get(field.key) for field in ITEM})
        left = others(found, *(field.key for field in ITEM))
        lines.append({"ORDER_ID": row["ORDER_ID"], "_POSITION": position, **line, "_RESCUED": left or None})
    return {**row, "_RESCUED": rescued or None}, lines


# --- any orders ----------------------------------------------------------------------------------------------

# A few in a hundred values are dirty, so that many orders are good as a whole.
odd_texts = st.sampled_from(
    ["", " ", "true", "false", "null", "{x", "{}", "[gift]", "[", " é ", "a\nb", "\t", '"', "\\", "x" * 65]
)
names = st.sampled_from(["Pen", "Ada", "é😀", "a b", "Zed"]) | odd_texts
wrong = st.sampled_from([True, False, {}, {"a": 1}, [], [1], [{}], None, LEFT_OUT])
numbers = st.sampled_from(["1", "0", "-2", "2.50", "25.00", "12345678901234.5678", "0.0001", "7.00000"])
odd_numbers = st.sampled_from(
    ["1e3", "1E-2", "0.00001", "123456789012345", "123456789012345678901234567890", "-0", "2.0"]
)
quoted_numbers = st.sampled_from(["3", " 4.5 ", "+5", "007", "1,5", "five", "", "1e3", ".5", "5."])
days = st.sampled_from(
    ["2026-01-02", "2026-02-28", "2026-01-02T10:11:12+05:30", "2026-01-03 23:59", "2026-01-03T00:00:00Z"]
)
odd_days = st.sampled_from(
    ["2026-02-30", "02-01-2026", "2026-1-2", "2026-01-02T24:00", "", " 2026-01-02 ", "2026-01-02T10:11:60.5-11"]
)
unknown = st.dictionaries(
    st.sampled_from(["note", "tier", "Order_Id", "a.b", 'q"', "", "$", "é", "__exact", "item"]),
    st.sampled_from([None, 1, "x", "", {}, [], {"name": "Ada", "x": None}, [1, {"a": [True]}], False]),
    max_size=2,
)


class Raw(str):
    """A number to be written as it stands."""


def mostly(clean: st.SearchStrategy, *dirty: st.SearchStrategy) -> st.SearchStrategy:
    return st.integers(0, 39).flatmap(lambda n: clean if n >= len(dirty) else dirty[n])


ids = mostly(
    st.sampled_from(["1", "2", "3", "a", "b"]), odd_texts, st.sampled_from(["1.0", "1e3", "9" * 30]).map(Raw), wrong
)
texts = mostly(names, wrong, numbers.map(Raw))
amounts = mostly(numbers.map(Raw), odd_numbers.map(Raw), quoted_numbers, wrong)
quantities = mostly(st.sampled_from(["1", "-2", "30"]).map(Raw), odd_numbers.map(Raw), quoted_numbers, wrong)
sometimes_unknown = st.integers(0, 3).flatmap(lambda n: unknown if n == 0 else st.just({}))


@st.composite
def objects(draw: st.DrawFn, known: dict[str, st.SearchStrategy]) -> dict:
    """Keys in any order, unknown ones among them."""
    found = {key: draw(values) for key, values in known.items()} | draw(sometimes_unknown)
    kept = [key for key, value in found.items() if value is not LEFT_OUT]
    return {key: found[key] for key in draw(st.permutations(kept))}


products = objects({"product_id": ids, "name": texts, "category": texts, "price": amounts, "quantity": quantities})
listed = st.lists(mostly(products, st.sampled_from([None, 5, "x", [], {}, True])), max_size=3)
people = objects({"customer_id": ids, "name": texts, "email": texts, "address": texts})
orders = objects(
    {
        "order_id": ids,
        "order_date": mostly(days, odd_days, wrong),
        "total_amount": amounts,
        "customer": mostly(people, st.sampled_from(["Ada", 7, [], {}, True, None, LEFT_OUT])),
        "products": mostly(listed, st.sampled_from([None, LEFT_OUT, {}, "x", 5, False])),
    }
)


def written(value: object, indent: int | None = None) -> str:
    """JSON text with raw numbers."""
    marks: list[str] = []

    def marked(inner: object) -> object:
        if isinstance(inner, Raw):
            marks.append(inner)
            return f"@{len(marks) - 1}@"
        if isinstance(inner, dict):
            return {key: marked(found) for key, found in inner.items()}
        return [marked(found) for found in inner] if isinstance(inner, list) else inner

    shown = json.dumps(marked(value), indent=indent, ensure_ascii=indent is None)
    return re.sub(r'"@(\d+)@"', lambda found: marks[int(found[1])], shown)


def twice(raw: str) -> str:
    """The first key of a record once more at its end."""
    return raw[: raw.rindex("}")].rstrip() + ', "order_id": 1, "order_id": 1}'


records = mostly(
    orders.map(written), st.sampled_from(["null", "5", "[]", '"x"', "true"]), orders.map(written).map(twice)
)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[tuple[int, str]], bytes]:
    """(records as they stand with the place that a bad one is reported by, file)."""
    layout = draw(st.sampled_from(["array", "lines", "lines with blank ones", "pretty", "one after another"]))
    if layout in ("pretty", "one after another"):
        raws = [written(record, 2 if layout == "pretty" else None) for record in draw(st.lists(orders, max_size=4))]
        content = ("\n" if layout == "pretty" else " ").join(raws)
    else:
        raws = draw(st.lists(records, max_size=6))
        if layout == "array":
            content = "[" + draw(st.sampled_from([",", " ,\n", "\r\n,\t"])).join(raws) + "]"
        else:
            raws = [text(order("first")), *raws]  # a file of lines starts with an object somewhere
            content = ("\n \n" if "blank" in layout else "\r\n").join(raws) + "\n"
    raw = (draw(st.sampled_from(["", "\ufeff"])) + content).encode()
    step = 2 if "blank" in layout else 1
    places = [1 + step * number for number in range(len(raws))]
    return list(zip(places, raws, strict=True)), gzip.compress(raw) if draw(st.booleans()) else raw


def decompressed(rescued: str | None) -> object:
    return None if rescued is None else json.loads(rescued)


def by_id(row: dict) -> str:
    return repr((row["ORDER_ID"], row.get("_POSITION")))


def alone(record: dict) -> tuple[list[tuple[int, str]], bytes]:
    return [(1, text(record))], text(record).encode()


@settings(max_examples=10, deadline=None)
@given(delivery=st.lists(files(), min_size=4, max_size=6))
@example([alone(order(1, customer=customer(email="{x"))), alone(order(2, products=[product()] * 2))])
def test_any_files_come_to_the_rows_that_plain_python_makes_of_them(delivery: list[tuple]) -> None:
    """A session takes a sixth of a second, however many files it has; an order of a later file is the newer one."""
    newest: dict[object, tuple[int, dict, list[dict]]] = {}
    bad: list[list[tuple]] = []
    superseded = [0] * len(delivery)
    for number, (raws, _) in enumerate(delivery):
        bad.append([])
        for place, raw in raws:
            try:
                row, lines = flatten(raw)
            except Bad as fault:
                bad[-1].append((place, str(fault), raw))
            else:
                if row["ORDER_ID"] in newest:
                    superseded[newest[row["ORDER_ID"]][0]] += 1
                newest[row["ORDER_ID"]] = (number, row, lines)

    found = delivered(*(content for _, content in delivery))

    assert bad_of(found) == {number: reported for number, reported in enumerate(bad) if reported}
    expected = sorted((row for _, row, _ in newest.values()), key=by_id)
    assert sorted(({**row, "_RESCUED": decompressed(row["_RESCUED"])} for row in found.orders), key=by_id) == expected
    expected = sorted((line for *_, lines in newest.values() for line in lines), key=by_id)
    assert sorted(({**row, "_RESCUED": decompressed(row["_RESCUED"])} for row in found.lines), key=by_id) == expected
    outcomes = {name(outcome.landed.uri): outcome for outcome in found.outcomes}
    counts = {n: (found.read, found.quarantined, found.superseded) for n, found in outcomes.items()}
    assert counts == {n: (len(raws), len(bad[n]), superseded[n]) for n, (raws, _) in enumerate(delivery)}
    assert not [outcome for outcome in found.outcomes if outcome.rejection]
