"""JSON files as they arrive: every layout is read alike, what is cut off or no JSON is refused whole and reported."""

from __future__ import annotations

import gzip
import json
import re
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets.engine import RejectPolicy
from pipeline_assets.engine.formats.json.documents import (
    LARGEST_RECORD,
    detect_layout,
    lines_at,
    value_at,
    without_bom,
)
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets_tests.support.delivered_orders import LEFT_OUT, ORDERS, customer, delivered, order, product, text
from pipeline_assets_tests.support.engine_session import landed, opened, rows

ONE, TWO, THREE = (text(order(number)) for number in (1, 2, 3))
PRETTY = [json.dumps(order(number), indent=2) for number in (1, 2, 3)]

# --- layouts -------------------------------------------------------------------------------------------------

LAYOUTS = {
    "array": f"[{ONE},{TWO},{THREE}]",
    "array, pretty": json.dumps([order(1), order(2), order(3)], indent=2),
    "array, a record a line": f"[\n{ONE},\n{TWO},\n{THREE}\n]\n",
    "array after blank lines": f"\n \r\n\t[{ONE}, {TWO} ,{THREE}]  \n\n",
    "objects, pretty": "\n".join(PRETTY),
    "objects, pretty, CRLF": "\r\n".join(PRETTY).replace("\n", "\r\n"),
    "objects in one line": ONE + TWO + " " + THREE,
    "objects with line ends of old Macs": "\r".join([ONE, TWO, THREE]),
    "objects, the first pretty": "\n".join([PRETTY[0], TWO, THREE]),
    "lines": "\n".join([ONE, TWO, THREE]),
    "lines, the last one ended": "\n".join([ONE, TWO, THREE, ""]),
    "lines, CRLF": "\r\n".join([ONE, TWO, THREE, ""]),
    "lines with blank ones": "\n\n".join(["", ONE, "  ", TWO, "\t\r", THREE, "", " "]),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["no mark", "BOM"])
@pytest.mark.parametrize("content", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_read_alike(content: str, mark: str, packed: bool) -> None:
    raw = (mark + content).encode()
    found = delivered(gzip.compress(raw) if packed else raw)

    assert (found.ids, found.bad) == (["1", "2", "3"], [])
    assert [(line["ORDER_ID"], line["_POSITION"]) for line in found.lines] == [("1", 1), ("2", 1), ("3", 1)]
    assert (found.outcome.read, found.outcome.loaded) == (3, 3)


@pytest.mark.parametrize("content", [ONE, PRETTY[0], f"[{ONE}]", ONE + "\n", "\n\n" + PRETTY[0]])
def test_a_single_object_is_one_record(content: str) -> None:
    assert delivered(content).ids == ["1"]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("content", ["", "\ufeff", " ", "\n \r\n\t\n", "[]", "[ ]\n", "\ufeff[\n]", "\n[]\n"], ids=repr)
def test_a_file_without_records_is_loaded_with_zero_rows(content: str, packed: bool) -> None:
    raw = content.encode()
    found = delivered(gzip.compress(raw) if packed else raw)

    assert (found.orders, found.bad) == ([], [])
    assert (found.outcome.read, found.outcome.loaded, found.outcome.rejection) == (0, 0, None)


def test_files_of_all_layouts_are_one_batch_and_keep_their_outcomes() -> None:
    contents = [*LAYOUTS.values(), "", "[]", "garbage", f"[{ONE}"]
    found = delivered(*contents)

    by_name = {Path(outcome.landed.uri).stem: outcome for outcome in found.outcomes}
    assert [by_name[str(n)].read for n in range(len(contents))] == [3] * len(LAYOUTS) + [0] * 4
    assert [n for n in range(len(contents)) if by_name[str(n)].rejection] == [len(LAYOUTS) + 2, len(LAYOUTS) + 3]
    assert by_name[str(len(LAYOUTS) - 1)].loaded == 3  # the newest
    assert sum(outcome.superseded for outcome in found.outcomes) == 3 * (len(LAYOUTS) - 1)


# --- files that are refused ----------------------------------------------------------------------------------

UNREADABLE = {
    "array, not closed": f"[{ONE},{TWO}",
    "array, cut in a record": f"[{ONE},{TWO[:40]}",
    "array, cut behind a comma": f"[{ONE},{TWO},",  # DuckDB accepts it in silence
    "array, cut behind a comma and a line end": f"[{ONE},\n",
    "array, cut behind the list of a record": f"[{ONE},{text(order(2))[:-1]}",
    "array, cut behind its bracket": "[",
    "array that ends with a comma": f"[{ONE},]",
    "array without a comma": f"[{ONE} {TWO}]",
    "array with nothing between commas": f"[{ONE},,{TWO}]",
    "array closed twice": f"[{ONE}]]",
    "array in an array that is not closed": f"[[{ONE}]",
    "two arrays": f"[{ONE}]\n[{TWO}]",
    "array and an object": f"[{ONE}]\n{TWO}",
    "array with a comment": f"[{ONE} /* two */]",
    "array with a lone surrogate": text([order("@a")], a='"\\ud800"'),
    "array with bytes that are no UTF-8": f"[{ONE}]".encode().replace(b"Ada", b"A\xffa"),
    "number with a leading zero": text([order("@a")], a="01"),
    "single quotes": "[{'order_id': 1}]",
    "object, cut": PRETTY[0][:60],
    "object in one line, cut": ONE[:60],
    "objects, the last one cut": f"{PRETTY[0]}\n{PRETTY[1][:60]}",
    "objects with commas between": ",\n".join(PRETTY),
    "objects, then garbage": f"{PRETTY[0]}\nthe end",
    "lines, the last one cut": f"{ONE}\n{TWO}\n{THREE[:50]}",
    "lines, the last one cut in a character": f"{ONE}\n{TWO[:30]}".encode() + b'"\xc3',
    "lines, CRLF, the last one cut": f"{ONE}\r\n{THREE[:50]}",
    "garbage": "order_id;total\n1;2\n",
    "a page": "<html>\n<body>{}</body></html>",
    "text": '"just a text"',
    "null": "null",
    "UTF-16": ONE.encode("utf-16"),
    "UTF-16 of several lines": f"{ONE}\n{TWO}".encode("utf-16"),
    "UTF-16 array without a mark": f"[{ONE}]".encode("utf-16-le"),
    "binary": bytes(range(256)) * 40,
    "truncated gzip": gzip.compress(f"[{ONE},{TWO}]".encode())[:-9],
    "gzip of a cut array": gzip.compress(f"[{ONE},{TWO},".encode()),
    "a record larger than 16 MB": text(order(1, note="x" * LARGEST_RECORD)),
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_cut_off_or_no_json_is_refused_whole_and_spoils_no_other(content: str | bytes) -> None:
    found = delivered(content, f"[{text(order('good'))}]", text(order("tidy")))

    assert found.ids == ["good", "tidy"]
    (bad,) = found.bad
    assert (bad.code, bad.line, bad.raw) == ("unreadable_object", None, None)
    assert bad.landed.uri.endswith("/0.json")
    assert re.search("Deliver", bad.reason)
    assert not re.search("/tmp|duckdb|Ada|ada@|try ", bad.reason)  # neither our path nor its advice nor a person
    assert [outcome.rejection for outcome in found.outcomes if outcome.rejection] == [bad]


def test_the_reason_says_what_is_wrong() -> None:
    expected = {
        "array, cut behind a comma": "the list is not closed",
        "lines, the last one cut": "the last line is not complete",
        "garbage": "neither a list nor an object",
        "a record larger than 16 MB": "a record is larger than 16 MB",
        "object, cut": "unexpected end of data",
    }
    for name, reason in expected.items():
        assert reason in delivered(UNREADABLE[name]).bad[0].reason


def test_a_file_of_another_shape_is_refused_whole_with_the_difference() -> None:
    """Renamed keys must not fill the quarantine with every record of the file."""
    records = [order(LEFT_OUT, id=n, products=[product(quantity=LEFT_OUT, cost=1)]) for n in range(30)]
    found = delivered(json.dumps(records), policy=RejectPolicy())

    (bad,) = found.bad
    assert (found.orders, bad.code, bad.line) == ([], "missing_column", None)
    assert (found.outcome.read, found.outcome.loaded, found.outcome.quarantined) == (30, 0, 30)
    assert "No record has order_id, products[].quantity. Expected order_id, order_date, total_amount, " in bad.reason
    assert "customer.name, " in bad.reason
    assert "products[].price" in bad.reason
    assert "not in the contract: id, products[].cost." in bad.reason
    assert not re.search("Ada|ada@", bad.reason)


def test_mostly_bad_records_of_the_right_shape_are_too_many_bad_rows() -> None:
    records = [order(n, total_amount="x" if n < 11 else 1) for n in range(20)]
    found = delivered("\n".join(map(json.dumps, records)), policy=RejectPolicy())

    (bad,) = found.bad
    assert (found.orders, bad.code) == ([], "too_many_bad_rows")
    assert "11 of 20 rows are bad, more than 50%" in bad.reason
    assert "Line 1: not_a_number" in bad.reason


# --- records that are none -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["null", "5", "[1]", '"{}"', "true", "[]"])
def test_a_record_that_is_no_object_is_quarantined_where_it_stood(value: str) -> None:
    listed = delivered(f"[{ONE}, {value} ,{TWO}]")
    lines = delivered(f"{ONE}\n\n{value}\n{TWO}\n")

    assert (listed.ids, lines.ids) == (["1", "2"], ["1", "2"])
    assert [(bad.line, bad.code, bad.raw) for bad in listed.bad] == [(2, "malformed_record", value)]
    assert [(bad.line, bad.code, bad.raw) for bad in lines.bad] == [(3, "malformed_record", value)]


@pytest.mark.parametrize(
    "line", ['{"order_id": ,}', "hello", "\0", ONE[:50], ONE + TWO, "{'order_id': 1}", f"{ONE},", f"{ONE}\r{TWO}"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_malformed_line_is_quarantined_and_the_others_load(line: str, place: int) -> None:
    lines = [text(order("a")), text(order("b"))]
    lines.insert(place, line)
    found = delivered("\n".join([*lines, ""]))

    assert found.ids == ["a", "b"]
    assert [(bad.line, bad.code, bad.raw) for bad in found.bad] == [(place + 1, "malformed_record", line)]
    assert (found.outcome.read, found.outcome.quarantined) == (3, 1)


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_line_that_is_no_utf_8_is_quarantined_and_the_others_load(place: int, end: str) -> None:
    """The last line too: it is complete, so the file was not cut off."""
    lines = [text(order(n)).encode() for n in range(3)]
    lines[place] = lines[place].replace(b"Ada", b"Ad\xe9")
    found = delivered(b"\n".join(lines) + end.encode())

    assert found.ids == [str(n) for n in range(3) if n != place]
    ((line, code, raw),) = [(bad.line, bad.code, bad.raw) for bad in found.bad]
    assert (line, code) == (place + 1, "malformed_record")
    assert raw is not None
    assert "Ad\\xe9" in raw


@pytest.mark.parametrize("content", ["{deep}\n" + ONE, ONE + "\n{deep}", "[{deep}]", "{deep}"])
@pytest.mark.parametrize("depth", [2000, 100_000])
def test_values_nested_deeper_than_python_reads_do_not_stop_the_run(content: str, depth: int) -> None:
    """One such record ended the run with a RecursionError, and every run after it."""
    deep = text({"order_id": 9, "x": "@deep"}, deep="[" * depth + "]" * depth)
    found = delivered(content.replace("{deep}", deep))

    assert found.ids == (["1"] if ONE in content else [])
    assert [bad.code for bad in found.bad] == ["missing_value"]


# --- many files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["[{]", b'[{"order_id":"\xff"}]'], ids=repr)
def test_thousands_of_tiny_files_are_one_session_and_a_broken_one_is_found(tmp_path: Path, broken: str) -> None:
    files = [landed(tmp_path / f"{n}.json", broken if n == 1234 else f"[{text(order(n))}]") for n in range(2000)]
    with opened() as session:
        session.read("orders", ORDERS, files)
        session.deduplicate("orders")

        counted = "SELECT COUNT(*) AS N, COUNT(DISTINCT _SOURCE_URI) AS U FROM orders"
        assert rows(session, counted) == [(1999, 1999)]
        odd = "SELECT COUNT(*) AS N FROM orders WHERE _SOURCE_URI <> 'lake://bucket/raw/' || ORDER_ID || '.json'"
        assert rows(session, odd) == [(0,)]
        (bad,) = session.bad_records("orders")
        assert (bad.landed.uri, bad.code) == ("lake://bucket/raw/1234.json", "unreadable_object")


def test_records_of_a_file_larger_than_the_parsers_buffers_keep_their_places() -> None:
    """Two buffers a thread: line numbers must count over all of them."""
    filler = "{" + " " * 200_000
    records = [text(order(n, total_amount="x" if n % 50 == 49 else 1)).replace("{", filler, 1) for n in range(200)]
    for content in ("\n\n".join(records), f"[{','.join(records)}]"):
        found = delivered(content)
        places = [2 * n - 1 for n in (50, 100, 150, 200)] if content.startswith("{") else [50, 100, 150, 200]
        assert found.reported == [(place, "not_a_number") for place in places]
        assert [json.loads(bad.raw or "")["order_id"] for bad in found.bad] == [49, 99, 149, 199]


# --- records that waited in quarantine -----------------------------------------------------------------------


def test_waiting_records_are_read_again_however_many_lines_each_has() -> None:
    raws = [PRETTY[0], json.dumps(order(2, total_amount="x"), indent=1), THREE, "[1]", text(order(5, order_date="?"))]
    waiting = [("q1", 40), ("q2", 7), ("q3", None), ("q4", 9), ("q5", 3)]
    found = delivered("\n" + "".join(f"{raw}\n" for raw in raws), waiting=waiting, policy=RejectPolicy(0.1, 1))

    assert (found.ids, found.outcome.released, found.outcome.rejection) == (["1", "3"], ("q1", "q3"), None)
    assert [(bad.quarantine_id, bad.line, bad.code, bad.raw) for bad in found.bad] == [
        ("q2", 7, "not_a_number", raws[1]),
        ("q4", 9, "malformed_record", "[1]"),
        ("q5", 3, "not_a_date", raws[4]),
    ]


@pytest.mark.parametrize("raw", ["hello", ONE[:40], "null", ONE + TWO])
def test_waiting_records_that_cannot_be_told_apart_keep_waiting_and_are_no_rejected_file(raw: str) -> None:
    """A rejection here would put the whole object, loaded long ago, into quarantine."""
    found = delivered(f"\n{raw}\n{THREE}\n", waiting=[("q1", 1), ("q2", 2)])

    assert (found.orders, found.bad, found.outcome.released, found.outcome.rejection) == ([], [], (), None)
    assert (found.outcome.read, found.outcome.quarantined) == (2, 2)


# --- the small functions -------------------------------------------------------------------------------------

BLANK = b" \t\r\v\f"
line = st.one_of(
    st.sampled_from([b"", b" ", b"\t\r", b"{}", b"\xff", b"\0", b"null", b"[", b'{"a": 1}\r', b"\x0b", b"\xc2\xa0"]),
    st.binary(max_size=4).filter(lambda raw: b"\n" not in raw),
)


@settings(max_examples=25, deadline=None)
@given(before=st.lists(line, max_size=8), record=st.sampled_from([ONE.encode(), b"{}"]), ended=st.booleans())
@example(before=[b"\x0b", b"{}"], record=b"{}", ended=True)
def test_records_are_counted_as_the_parser_counts_them(before: list[bytes], record: bytes, ended: bool) -> None:
    """A line that one of the two takes for blank and the other not would move every number behind it."""
    lines = [b"{}", *before, record]
    content = b"\n".join(lines) + (b"\n" if ended else b"")
    found = delivered(content)
    places = [n for n, raw in enumerate(lines, 1) if raw.strip(BLANK + b"\n")]

    assert found.outcome.read == len(places)
    good = [len(lines)] if record != b"{}" else []
    assert [bad.line for bad in found.bad] == [place for place in places if place not in good]
    for bad in found.bad:
        stood = lines[(bad.line or 0) - 1].strip(BLANK).decode("utf-8", "backslashreplace")
        assert bad.raw == stood


@given(content=st.binary(max_size=60) | st.text('[]{},:"1a \n\r\ufeff', max_size=40).map(str.encode))
def test_any_bytes_have_a_layout_or_none_or_are_refused(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(content)
        plain = without_bom(path, Path(folder) / "plain")
        assert plain.read_bytes() == content.removeprefix(b"\xef\xbb\xbf")
        with suppress(RejectedObjectError):
            assert (detect_layout(plain) is None) == (not plain.read_bytes().strip(BLANK + b"\n"))
        assert list(lines_at(plain, [])) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("order_id",), ("1e3", None)),
        (("total_amount",), (None, "true")),
        (("customer",), (None, "an object")),
        (("customer", "name"), ("Ada", None)),
        (("customer", "phone"), (None, None)),
        (("order_id", "x"), (None, "a number where its object belongs")),
        (("products", "x"), (None, "a list where its object belongs")),
        (("products",), (None, "a list")),
        (("products", 0, "price"), ("1.50", None)),
        (("products", 1, "price"), (None, None)),
        (("products", 7, "price"), (None, None)),
        (("nothing", "x"), (None, None)),
    ],
)
def test_a_value_is_reported_as_it_stood(path: tuple[str | int, ...], expected: tuple) -> None:
    record = order(
        "@id", total_amount=True, customer=customer(), products=[product(price="@price"), None], nothing=None
    )

    assert value_at(text(record, id="1e3", price="1.50"), path) == expected
