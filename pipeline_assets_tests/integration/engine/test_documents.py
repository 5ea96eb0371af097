"""JSON files as they arrive: every layout is read alike, what is cut off or no JSON is refused whole and reported."""

from __future__ import annotations

import gzip
import json
import re
from contextlib import suppress
from itertools import product as product_of
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets.engine import BadRecord, RejectPolicy
from pipeline_assets.engine.formats.json.documents import (
    LARGEST_RECORD,
    detect_layout,
    lines_at,
    value_at,
    without_bom,
)
from pipeline_assets.errors import RejectedObjectError
from pipeline_assets_tests.support.delivered_orders import (
    LEFT_OUT,
    ORDERS,
    bad_of,
    customer,
    delivered,
    name,
    order,
    product,
    text,
)
from pipeline_assets_tests.support.engine_session import landed, opened, rows

ONE, TWO, THREE = (text(order(number)) for number in (1, 2, 3))
PRETTY = [json.dumps(order(number), indent=2) for number in (1, 2, 3)]

# --- layouts -------------------------------------------------------------------------------------------------


def layouts(*numbers: int) -> dict[str, str]:
    """Three orders in every layout."""
    one, two, three = (text(order(number)) for number in numbers)
    pretty = [json.dumps(order(number), indent=2) for number in numbers]
    return {
        "array": f"[{one},{two},{three}]",
        "array, pretty": json.dumps([order(number) for number in numbers], indent=2),
        "array, a record a line": f"[\n{one},\n{two},\n{three}\n]\n",
        "array after blank lines": f"\n \r\n\t[{one}, {two} ,{three}]  \n\n",
        "objects, pretty": "\n".join(pretty),
        "objects, pretty, CRLF": "\r\n".join(pretty).replace("\n", "\r\n"),
        "objects in one line": one + two + " " + three,
        "objects with line ends of old Macs": "\r".join([one, two, three]),
        "objects, the first pretty": "\n".join([pretty[0], two, three]),
        "lines": "\n".join([one, two, three]),
        "lines, the last one ended": "\n".join([one, two, three, ""]),
        "lines, CRLF": "\r\n".join([one, two, three, ""]),
        "lines with blank ones": "\n\n".join(["", one, "  ", two, "\t\r", three, "", " "]),
    }


LAYOUTS = layouts(1, 2, 3)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["no mark", "BOM"])
def test_every_layout_is_read_alike(mark: str, packed: bool) -> None:
    """Each file has three orders of its own."""
    texts = [layouts(3 * n, 3 * n + 1, 3 * n + 2)[layout] for n, layout in enumerate(LAYOUTS)]
    raws = [(mark + content).encode() for content in texts]
    found = delivered(*map(gzip.compress, raws) if packed else raws)

    expected = sorted(str(number) for number in range(3 * len(texts)))
    assert (found.ids, found.bad) == (expected, [])
    assert [(line["ORDER_ID"], line["_POSITION"]) for line in found.lines] == [(number, 1) for number in expected]
    assert [(outcome.read, outcome.loaded) for outcome in found.outcomes] == [(3, 3)] * len(texts)


@pytest.mark.parametrize("content", [ONE, PRETTY[0], f"[{ONE}]", ONE + "\n", "\n\n" + PRETTY[0]])
def test_a_single_object_is_one_record(content: str) -> None:
    assert delivered(content).ids == ["1"]


def test_a_file_without_records_is_loaded_with_zero_rows() -> None:
    raws = [content.encode() for content in ("", "\ufeff", " ", "\n \r\n\t\n", "[]", "[ ]\n", "\ufeff[\n]", "\n[]\n")]
    found = delivered(*raws, *map(gzip.compress, raws))

    assert (found.orders, found.bad) == ([], [])
    assert [(each.read, each.loaded, each.rejection) for each in found.outcomes] == [(0, 0, None)] * 2 * len(raws)


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


@pytest.fixture(scope="module")
def refused() -> dict[str, BadRecord]:
    """What is reported of each unreadable file, all of them delivered with two good ones."""
    found = delivered(*UNREADABLE.values(), f"[{text(order('good'))}]", text(order("tidy")))
    assert found.ids == ["good", "tidy"]
    assert sorted(outcome.landed.uri for outcome in found.outcomes if outcome.rejection) == sorted(
        bad.landed.uri for bad in found.bad
    )
    reported = {list(UNREADABLE)[name(bad.landed.uri)]: bad for bad in found.bad}
    assert len(reported) == len(found.bad)
    return reported


def test_what_is_cut_off_or_no_json_is_refused_whole_and_spoils_no_other(refused: dict[str, BadRecord]) -> None:
    assert refused.keys() == UNREADABLE.keys()
    for layout, bad in refused.items():
        assert (bad.code, bad.line, bad.raw) == ("unreadable_object", None, None), layout
        assert re.search("Deliver", bad.reason), layout
        # neither our path nor its advice nor a person
        assert not re.search(f"{gettempdir()}|duckdb|Ada|ada@|try ", bad.reason), layout


def test_the_reason_says_what_is_wrong(refused: dict[str, BadRecord]) -> None:
    expected = {
        "array, cut behind a comma": "the list is not closed",
        "lines, the last one cut": "the last line is not complete",
        "garbage": "neither a list nor an object",
        "a record larger than 16 MB": "a record is larger than 16 MB",
        "object, cut": "unexpected end of data",
    }
    for layout, reason in expected.items():
        assert reason in refused[layout].reason


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


def test_a_record_that_is_no_object_is_quarantined_where_it_stood() -> None:
    values = ["null", "5", "[1]", '"{}"', "true", "[]"]
    listed = [f"[{text(order(f'a{n}'))}, {value} ,{text(order(f'b{n}'))}]" for n, value in enumerate(values)]
    lines = [f"{text(order(f'c{n}'))}\n\n{value}\n{text(order(f'd{n}'))}\n" for n, value in enumerate(values)]
    found = delivered(*listed, *lines)

    assert found.ids == [f"{letter}{n}" for letter in "abcd" for n in range(len(values))]
    expected = [[(2, "malformed_record", value)] for value in values]
    expected += [[(3, "malformed_record", value)] for value in values]
    assert bad_of(found) == dict(enumerate(expected))


def test_a_malformed_line_is_quarantined_and_the_others_load() -> None:
    malformed = ['{"order_id": ,}', "hello", "\0", ONE[:50], ONE + TWO, "{'order_id': 1}", f"{ONE},", f"{ONE}\r{TWO}"]
    contents, expected = [], {}
    for number, (bad, place) in enumerate(product_of(malformed, range(3))):
        lines = [text(order(f"{number}a")), text(order(f"{number}b"))]
        lines.insert(place, bad)
        contents.append("\n".join([*lines, ""]))
        expected[number] = [(place + 1, "malformed_record", bad)]
    found = delivered(*contents)

    assert found.ids == sorted(f"{number}{letter}" for number in expected for letter in "ab")
    assert bad_of(found) == expected
    assert {(outcome.read, outcome.quarantined) for outcome in found.outcomes} == {(3, 1)}


def test_a_line_that_is_no_utf_8_is_quarantined_and_the_others_load() -> None:
    """The last line too: it is complete, so the file was not cut off."""
    contents, places = [], []
    for number, (place, end) in enumerate(product_of(range(3), [b"", b"\n"])):
        lines = [text(order(f"{number}{letter}")).encode() for letter in "abc"]
        lines[place] = lines[place].replace(b"Ada", b"Ad\xe9")
        contents.append(b"\n".join(lines) + end)
        places.append(place)
    found = delivered(*contents)

    assert found.ids == [f"{n}{letter}" for n, place in enumerate(places) for letter in "abc".replace("abc"[place], "")]
    bad = bad_of(found)
    assert [[record[:2] for record in bad[n]] for n in bad] == [[(place + 1, "malformed_record")] for place in places]
    assert all("Ad\\xe9" in (record.raw or "") for record in found.bad)


@pytest.mark.parametrize("content", ["{deep}\n" + ONE, ONE + "\n{deep}", "[{deep}]", "{deep}"])
@pytest.mark.parametrize("depth", [2000, 100_000])
def test_values_nested_deeper_than_python_reads_do_not_stop_the_run(content: str, depth: int) -> None:
    """One such record ended the run with a RecursionError, and every run after it."""
    deep = text({"order_id": 9, "x": "@deep"}, deep="[" * depth + "]" * depth)
    found = delivered(content.replace("{deep}", deep))

    assert found.ids == (["1"] if ONE in content else [])
    assert [bad.code for bad in found.bad] == ["missing_value"]


# --- many files ----------------------------------------------------------------------------------------------


def test_hundreds_of_tiny_files_are_one_session_and_a_broken_one_is_found(tmp_path: Path) -> None:
    files = [landed(tmp_path / f"{n}.json", "[{]" if n == 234 else f"[{text(order(n))}]") for n in range(500)]
    with opened() as session:
        session.read("orders", ORDERS, files)
        session.deduplicate("orders")

        counted = "SELECT COUNT(*) AS N, COUNT(DISTINCT _SOURCE_URI) AS U FROM orders"
        assert rows(session, counted) == [(499, 499)]
        odd = "SELECT COUNT(*) AS N FROM orders WHERE _SOURCE_URI <> 'lake://bucket/raw/' || ORDER_ID || '.json'"
        assert rows(session, odd) == [(0,)]
        (bad,) = session.bad_records("orders")
        assert (bad.landed.uri, bad.code) == ("lake://bucket/raw/234.json", "unreadable_object")


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


lines_of = st.tuples(st.lists(line, max_size=8), st.sampled_from([ONE.encode(), b"{}"]), st.booleans())


@settings(max_examples=4, deadline=None)
@given(files=st.lists(lines_of, min_size=7, max_size=9))
@example(files=[([b"\x0b", b"{}"], b"{}", True)])
def test_records_are_counted_as_the_parser_counts_them(files: list[tuple[list[bytes], bytes, bool]]) -> None:
    """A line that one of the two takes for blank and the other not would move every number behind it."""
    all_lines = [[b"{}", *before, record] for before, record, _ in files]
    contents = [
        b"\n".join(lines) + (b"\n" if ended else b"") for lines, (*_, ended) in zip(all_lines, files, strict=True)
    ]
    found = delivered(*contents)
    outcomes, bad = {name(outcome.landed.uri): outcome for outcome in found.outcomes}, bad_of(found)
    for number, (lines, (_, record, _)) in enumerate(zip(all_lines, files, strict=True)):
        places = [n for n, raw in enumerate(lines, 1) if raw.strip(BLANK + b"\n")]
        assert outcomes[number].read == len(places)
        good = [len(lines)] if record != b"{}" else []
        assert [(place, raw) for place, _, raw in bad.get(number, [])] == [
            (place, lines[place - 1].strip(BLANK).decode("utf-8", "backslashreplace"))
            for place in places
            if place not in good
        ]


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
