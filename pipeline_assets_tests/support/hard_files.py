"""Files that readers get wrong, written as the records that have to be found in them.

A case is a list of (text of the record as it stands, what becomes of it): its fields, or the code that it goes to
quarantine with. Put together with line ends the texts are the file, so line numbers follow from them as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pipeline_assets.contracts import Column, Contract
from pipeline_assets_tests.support.delivered_orders import LEFT_OUT, order, product, text

LINES = Contract(
    "lines",
    "LINES",
    "1",
    "shop",
    "",
    "one row per line, without a key: nothing is superseded",
    "",
    (
        Column("ID", "string", "VARCHAR(5)", required=True, max_length=5),
        Column("TEXT", "string", "VARCHAR", keep_blanks=True),
        Column("AMOUNT", "number", "NUMBER(18,4)"),
    ),
)
Fields = tuple[str, ...]
Outcome = Fields | str | None  # None is a blank line
Case = Sequence[tuple[str, Outcome]]
MALFORMED = "malformed_record"
GOOD = ("h,i,4", ("h", "i", "4"))

# A record that spans lines and has the wrong number of fields costs its first line only; the others stand for
# themselves. A quote counts as one only where a field begins.
DELIMITED: dict[str, Case] = {
    "too many fields over lines": [
        ('a,"b', MALFORMED), ("c,d,1", ("c", "d", "1")), ('e",2,3', ('e"', "2", "3")), GOOD,
    ],
    "too few fields over lines": [('a,"b', MALFORMED), ("c,d,1", ("c", "d", "1")), ('e"', MALFORMED), GOOD],
    "quotes within too many fields": [('a,"b', MALFORMED), ('""c"",d,1', MALFORMED), ('e",2,3', ('e"', "2", "3"))],
    "too many fields over lines, twice": [
        ('a,"b', MALFORMED), ("c,d,1", ("c", "d", "1")), ('e",2,3', ('e"', "2", "3")),
        ('f,"g', MALFORMED), ("", None), ('j",3,4', ('j"', "3", "4")), GOOD,
    ],
    "too many fields at the end": [GOOD, ('a,"b', MALFORMED), ("c,d,1", ("c", "d", "1")), ('e",2,3', ('e"', "2", "3"))],
    "too many fields beside whole records over lines": [
        ('k,"l\nm",1', ("k", "l\nm", "1")), ('a,"b', MALFORMED), ('e",2,3', ('e"', "2", "3")),
        ('n,"\n\no",2', ("n", "\n\no", "2")), GOOD,
    ],
    "an open quote": [('a,"b,1', MALFORMED), ("c,d,2", ("c", "d", "2")), ("e,f,3", ("e", "f", "3"))],
    "an open quote at the end": [GOOD, ('c,"d,2', MALFORMED)],
    "an open quote that another one closes": [('a,"b,1\nc,d,2\ne,f",3', ("a", "b,1\nc,d,2\ne,f", "3")), GOOD],
    "text behind a closing quote": [('a,"b"c,1', MALFORMED), ('d,"e', MALFORMED), ('f"g,2', MALFORMED), GOOD],
    "blanks before a quote": [
        ('a, "b",1', ("a", ' "b"', "1")), ('c, "d', MALFORMED), ('e,f",2', ("e", 'f"', "2")), GOOD,
    ],
    "quotes within a field": [('a,5" disk,1', ("a", '5" disk', "1")), ('b,"6"" disk",2', ("b", '6" disk', "2")), GOOD],
    "a stray quote before records over lines": [
        ('a,5" disk,1', ("a", '5" disk', "1")), ('b,"\nc,d,2\n",1', ("b", "\nc,d,2\n", "1")),
        ('e,"\nf,g,2\n",1', ("e", "\nf,g,2\n", "1")), ('i,"\nj,k,2\n",x', "not_a_number"), GOOD,
    ],
    "quoted line ends": [
        ('a,"b\nc",1', ("a", "b\nc", "1")), ('d,"\n\n",x', "not_a_number"), ('e,"f\n",2', ("e", "f\n", "2")),
        ('toolong,"x\ny",1', "too_long"), GOOD,
    ],
    "doubled quotes": [
        ('a,"say ""hi, you""\nthere",1', ("a", 'say "hi, you"\nthere', "1")), ('b,"""",2', ("b", '"', "2")),
        ('c,"""\n""",x', "not_a_number"), ('"d","",""', ("d", "", "")), GOOD,
    ],
    "quoted commas": [('a,"b,c",1', ("a", "b,c", "1")), ('d,"e,f,g",x', "not_a_number"), GOOD],
    "blank lines": [("", None), ("", None), ("a,b,1", ("a", "b", "1")), ("", None), ("c,d,x", "not_a_number"),
                    ("", None), GOOD, ("", None)],
    "too many and too few fields": [
        ("a,b", MALFORMED), GOOD, ("a,b,1,", MALFORMED), ("a,b,1,2", MALFORMED), (",,", "missing_value"), GOOD,
    ],
    "too many fields evened out by too few": [("a,b,1,2", MALFORMED), ("a,b", MALFORMED), GOOD],
    "quotes alone on lines": [('"', MALFORMED), ("a,b,1", ("a", "b", "1")), ('"', MALFORMED), GOOD],
    "the last record is one field": [GOOD, ("a", MALFORMED)],
    "the last record ends in quotes": [GOOD, ('a,1,"2"', ("a", "1", "2"))],
}  # fmt: skip

ORDERED = (text(order("a")), ("a",))
BROKEN = text(order("x", note="n" * 40))
DOCUMENTS: dict[str, Case] = {
    "a broken line": [ORDERED, ORDERED, (BROKEN[:60], MALFORMED), ORDERED],
    "a broken line that goes on in the next": [
        ORDERED, ORDERED, (BROKEN[:60], MALFORMED), (BROKEN[60:], MALFORMED), ORDERED,
    ],
    # A file that ends within a record is cut, and rejected as a whole.
    "an open quote": [ORDERED, ORDERED, ('{"order_id": "b', MALFORMED), ORDERED],
    "blank lines": [ORDERED, ("", None), ORDERED, ("", None), ("", None), (text(order(None)), "missing_value")],
    "values that are no object": [ORDERED, ORDERED, ("[1", MALFORMED), ('"x"', MALFORMED), ("{}", "missing_value")],
    "line ends in texts": [
        ORDERED, (text(order("b\n")), ("b\n",)), (text(order("c", order_date="2026\n")), "not_a_date"), ORDERED,
    ],
    "the first bad product tells": [
        ORDERED, ORDERED,
        (text(order("b", products=[product(), product(price="x"), product(quantity=LEFT_OUT)])), "not_a_number"),
        (text(order("c", products=[product(quantity=LEFT_OUT), product(price="x")])), "missing_value"),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class HardFile:
    """A file, and in order the line, text and outcome of every record in it."""

    name: str
    content: bytes
    records: tuple[tuple[int, str, Fields | str], ...]

    @property
    def bad(self) -> list[tuple[int, str, str]]:
        return [record for record in self.records if isinstance(record[2], str)]

    @property
    def good(self) -> list[tuple]:
        return sorted((typed(record[2]) for record in self.records if not isinstance(record[2], str)), key=repr)


def typed(fields: Fields) -> tuple:
    """What a row has for the fields of its record."""
    return (fields[0], fields[1] or None, Decimal(fields[2]) if fields[2] else None) if len(fields) == 3 else fields


def variants(kind: str, name: str, case: Case, header: str) -> Iterator[HardFile]:
    """The file with either line end, with a byte order mark, and without its last line end."""
    for end, mark, final in (("\n", "", True), ("\r\n", "", True), ("\n", "\ufeff", True), ("\r\n", "\ufeff", False)):
        line, texts, records = (2 if header else 1), [header] * bool(header), []
        for raw, outcome in case:
            shown = raw.replace("\n", end)
            if outcome is not None:
                fields = (
                    tuple(f.replace("\n", end) for f in outcome) if isinstance(outcome, tuple) and header else outcome
                )
                records.append((line, shown, fields))
            texts.append(shown)
            line += 1 + raw.count("\n")
        content = mark + end.join(texts) + end * final
        yield HardFile(f"{kind} {name} {len(end)}{len(mark)}{final:d}", content.encode(), tuple(records))


def delimited(every: bool = True) -> list[HardFile]:
    """All cases in all variants, or each in one of them."""
    return _chosen("csv", DELIMITED, "ID,TEXT,AMOUNT", every)


def documents(every: bool = True) -> list[HardFile]:
    return _chosen("json", DOCUMENTS, "", every)


def _chosen(kind: str, cases: dict[str, Case], header: str, every: bool) -> list[HardFile]:
    found = [list(variants(kind, name, case, header)) for name, case in cases.items()]
    if every:
        return [file for files in found for file in files]
    return [files[number % len(files)] for number, files in enumerate(found)]
