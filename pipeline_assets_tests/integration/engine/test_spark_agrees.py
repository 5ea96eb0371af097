"""Spark and DuckDB make the same of the same files: good rows, bad records with line, text and reason, every count.

Files are dirty in every way that the tests of the embedded engine know; many of them go through each Spark session, as
starting one costs seconds. Every statement in sql/ that runs over files is compared on both engines as well, and the
last tests leave the process: a cluster of several, with files cut into parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.engine import BadRecord, Engine, FileOutcome, RejectPolicy, Session, SourceFile
from pipeline_assets.engine.duckdb.engine import DuckDBEngine
from pipeline_assets.engine.spark.engine import SparkEngine
from pipeline_assets_tests.integration.engine import test_flatten_agrees, test_versions
from pipeline_assets_tests.integration.engine.test_versions import HEADER, VISIT_HEADER, known, waiting
from pipeline_assets_tests.support.delivered_orders import ORDERS, order, product, text
from pipeline_assets_tests.support.engine_session import NEVER, PEOPLE, USUAL, VISITS, landed, on_engine
from pipeline_assets_tests.unit.engine import test_records
from pipeline_assets_tests.unit.engine.test_records import THINGS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
DUCKDB, SPARK = DuckDBEngine(threads=2), SparkEngine(master="local[2]")
# A failing example takes seconds, so it is shown as it was found.
ONCE = settings(
    max_examples=1,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def looked_at(session: Session, names: Sequence[str], selects: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """All that can be asked of a session, in an order of its own."""
    written = {name: session.write(select, folder / f"{name}.parquet", "parquet") for name, select in selects.items()}
    found: dict[str, Any] = {}
    for name, result in written.items():
        assert result.rows == pq.read_metadata(result.path).num_rows
        found[name] = sorted((_plain(row) for row in pq.read_table(result.path).to_pylist()), key=repr)
    for name in names:
        found[f"{name}: outcomes"] = sorted(map(_outcome, session.outcomes(name)), key=repr)
        found[f"{name}: bad"] = sorted(map(_bad, session.bad_records(name)), key=repr)
        found[f"{name}: new rows"] = session.new_rows(name)
    return found


def _plain(row: dict) -> dict:
    """Decimals by value, rescued JSON by meaning."""
    shown = {key: value.normalize() if isinstance(value, Decimal) else value for key, value in row.items()}
    if shown.get("_RESCUED"):
        shown["_RESCUED"] = json.loads(shown["_RESCUED"])
    return shown


def _outcome(outcome: FileOutcome) -> dict:
    return vars(outcome) | {"landed": outcome.landed.uri, "rejection": outcome.rejection and _bad(outcome.rejection)}


def _bad(record: BadRecord) -> dict:
    return vars(record) | {"landed": record.landed.uri}


@contextmanager
def folders() -> Iterator[tuple[Path, dict[str, Path]]]:
    with TemporaryDirectory() as name:
        both = {"duckdb": Path(name) / "duckdb", "spark": Path(name) / "spark"}
        for folder in both.values():
            folder.mkdir()
        yield Path(name), both


def compared(work: Any, spark: Engine = SPARK, policy: RejectPolicy = USUAL) -> dict[str, Any]:
    """What `work(session, folder)` finds, which must be the same on both engines."""
    found = {}
    with folders() as (_, each):
        for name, engine in (("duckdb", DUCKDB), ("spark", spark)):
            with engine.session(each[name] / "scratch", policy) as session:
                found[name] = work(session, each[name])
    assert found["spark"].keys() == found["duckdb"].keys()
    for key, expected in found["duckdb"].items():
        assert found["spark"][key] == expected, key
    return found["duckdb"]


def reading(
    contract: Contract, files: Sequence[SourceFile], selects: Mapping[str, str] | None = None, names: str = "*"
) -> Any:
    chosen = selects or {"rows": f"SELECT {names} FROM {contract.name}"}

    def work(session: Session, folder: Path) -> dict[str, Any]:
        session.read(contract.name, contract, files)
        session.deduplicate(contract.name)
        return looked_at(session, [contract.name], chosen, folder)

    return work


# --- files ---------------------------------------------------------------------------------------------------


@ONCE
@given(contents=st.lists(test_records.files(), min_size=30, max_size=60), policy=st.sampled_from([NEVER, USUAL]))
def test_any_delimited_files_are_read_alike(contents: list[bytes], policy: RejectPolicy) -> None:
    with TemporaryDirectory() as folder:
        files = [landed(Path(folder) / f"{n}.csv", content, days=n % 3) for n, content in enumerate(contents)]
        compared(reading(THINGS, files), policy=policy)


@ONCE
@given(contents=st.lists(test_flatten_agrees.files(), min_size=15, max_size=30))
def test_any_json_files_are_flattened_alike(contents: list[tuple[object, bytes]]) -> None:
    with TemporaryDirectory() as folder:
        files = [landed(Path(folder) / f"{n}.json", content, days=n % 3) for n, (_, content) in enumerate(contents)]
        selects = {"orders": "SELECT * FROM ORDERS", "lines": "SELECT * FROM ORDERS_PRODUCTS"}
        compared(reading(ORDERS, files, selects), policy=RejectPolicy(0.5, 3))


def test_values_at_the_edge_of_their_types_are_typed_alike(tmp_path: Path) -> None:
    """Where engines are known to differ: rounding, exponents, underscores, dates that no calendar has, blanks, `$`."""
    numbers = [
        "1", "+1", "-0", "00012.5", "1.", ".5", "1e3", "1_000", "1,5", "0x1F", "NaN", "Infinity", "12345678901234.1234",
        "123456789012345", "1.00001", "1.00000", "-99999999999999.9999", " 7 ", "\u00a07", "7\n",
        "\u0663", "\u22121", "1 000", "1.5E2", "-25e-1", "12345678901234567e-3", "1e30", "1e-30", ".5e1", "\t7\t",
        "0.30000000000000004", "1.23456e0",
    ]  # fmt: skip
    days = [
        "01-02-2026", "2026-02-01", "31-02-2026", "29-02-2024", "29-02-2023", "00-01-2026", "01-13-2026", "1-2-2026",
        "01-02-26", "0000-01-01", "0001-01-01", "9999-12-31", "2026-2-1", "2026-02-01 ", "2026-02-01\n", "20260201",
        "01/02/2026", "2026-02-01T00:00:00", "+2026-02-01",
        "31-2-2026", "2026-2-30", "2026/02/01", "2026-02-01t10:00:00 +01:00", "2026-02-01 10:00 z",
    ]  # fmt: skip
    quoted = [f'n{n},1,,"{number}"' for n, number in enumerate(numbers)]
    quoted += [f'd{n},1,"{day}",1' for n, day in enumerate(days)]
    people = landed(tmp_path / "people.csv", f"{HEADER}\n1,Ada, kept \n\u00a0,Nbsp,\n\u3000x,Wide,\n")
    visits = landed(tmp_path / "visits.csv", "\n".join([VISIT_HEADER, *quoted]) + "\n")

    def work(session: Session, folder: Path) -> dict[str, Any]:
        session.read("people", PEOPLE, [people])
        session.read("visits", VISITS, [visits])
        session.deduplicate("people")
        session.deduplicate("visits")
        selects = {"people": "SELECT * FROM people", "visits": "SELECT * FROM visits"}
        return looked_at(session, ["people", "visits"], selects, folder)

    found = compared(work, policy=NEVER)
    assert len(found["visits"]) + len(found["visits: bad"]) == len(quoted)
    assert {row["DAY"] for row in found["visits"] if row["DAY"]}


FLOATS = [
    "0.30000000000000004", "32.380001100000001", "5.551115123125783e-17", "1.2000000476837158", "0.12345", "1.5E2",
    "12345678901234.570312", "99999999999999.99995", "440.00000000000006", "5.00000011", "1e-30",
]  # fmt: skip


def test_what_json_writers_mean_is_read_alike(tmp_path: Path) -> None:
    """Guests, keys in any case, objects in text columns, whole numbers as ids, floats and exponents."""
    records = [text(order(f"f{n}", total_amount="@n", products=[product(price="@n")]), n=n) for n in FLOATS]
    records += [text(order(7.0)), text(order("7.0")), text(order(1, customer=None, products=[{"quantity": 1}]))]
    records += [
        text(order(2, customer={"address": {"street": "Row"}}, products=[product(product_id=8.0, name=[1])])),
        '{"Order_ID": 3, "ORDER_DATE": "2026-01-02", "Customer": {"NAME": "A"}, "Products": [{"QUANTITY": 2, "x": 1}]}',
        '{"ORDER_ID": 4, "Order_id": 4, "order_date": "2026-01-02"}',
        '{"order_id": 5, "Order_ID": 6, "order_date": "2026-01-02T10:00:00 z"}',
        '{"order_id": 9, "order_id": 9}', '{"order_id": 9,, }', text(order(10, customer=True)),
        text(order(11, products=[5])),
    ]  # fmt: skip
    files = [landed(tmp_path / "a.json", "\n".join(records) + "\n")]
    files += [landed(tmp_path / "b.json", f"[{records[0]}, {records[-7]}]", days=1)]
    selects = {"orders": "SELECT * FROM ORDERS", "lines": "SELECT * FROM ORDERS_PRODUCTS"}
    found = compared(reading(ORDERS, files, selects), policy=NEVER)
    assert {"7", "7.0", "1", "2", "3", "5"} <= {row["ORDER_ID"] for row in found["orders"]}
    assert sum(outcome["floats"] for outcome in found["orders: outcomes"]) > 10


KINDS = Contract(
    "kinds",
    "KINDS",
    "1",
    "shop",
    "",
    "",
    "",
    (
        Column("ID", "string", "VARCHAR(9)", required=True, key=True, max_length=9),
        Column("YES", "boolean", "BOOLEAN"),
        Column("SMALL", "number", "NUMBER(38,10)"),
        Column("COUNTED", "integer", "NUMBER(18,0)"),
        Column("MOMENT", "timestamp", "TIMESTAMP_NTZ(6)"),
    ),
)


def test_kinds_that_no_contract_of_ours_has_are_typed_alike(tmp_path: Path) -> None:
    """Truth values, small decimals (Spark writes 1E-10), whole numbers, moments."""
    columns = {
        "YES": ["true", "FALSE", "True", "t", "1", "yes"],
        "SMALL": ["0E-10", "1E-10", "1.0E-9", "0.0000000001", "1e3", "-0.5", "0.00000000001"],
        "COUNTED": ["1", "1.0", "1.5", "007", "-3", "9" * 19],
        "MOMENT": [
            "2026-01-02 10:00", "2026-01-02T10:00:00.123456", "2026-01-02 10:00:00.1234567", "0001-01-01",
            "1582-10-10 00:00", "2026-01-02T10:00Z", "2026-13-01", "2026-01-02 24:00",
        ],
    }  # fmt: skip
    lines = ["ID," + ",".join(columns)]
    for place, texts in enumerate(columns.values()):
        for number, value in enumerate(texts):
            lines.append(f"{place}-{number}" + "".join(f",{value if place == p else ''}" for p in range(len(columns))))
    found = compared(reading(KINDS, [landed(tmp_path / "x", "\n".join(lines) + "\n")]), policy=NEVER)
    assert {row["YES"] for row in found["rows"]} == {True, False, None}
    assert len(found["rows"]) + len(found["kinds: bad"]) == sum(map(len, columns.values()))


# --- versions, references, known rows --------------------------------------------------------------------------


def test_versions_references_known_and_waiting_records_are_settled_alike(tmp_path: Path) -> None:
    people = [
        landed(tmp_path / "p0", f"{HEADER}\n1,Ada,\n1,Ada again,\n2,Bob,\n"),
        landed(tmp_path / "p1", f"{HEADER}\n1,Ada newest,\n3,Cy,\n", days=4),
        landed(tmp_path / "p2", f"{HEADER}\n2,as new,\n", days=0),
    ]
    visits = [
        landed(tmp_path / "v0", f"{VISIT_HEADER}\nv1,1,,1\nv2,9,,2\nv3,2,,x\nv4,3,,4\n", days=1),
        landed(tmp_path / "v1", f"{VISIT_HEADER},more\nv1,3,,1,m\nv5,nobody,,2,\nv6,7,,2,\n", days=2),
    ]
    held = waiting(tmp_path, ("q1", 7, 'v7,1,,"1"'), ("q2", 90, "v8,nobody,,1"), ("q3", None, "v9,1,,x"))
    published = known(tmp_path, ("7", "Known", "x", 0), ("3", "Newer", "x", 9), ("1", "older", "x", 1))

    def work(session: Session, folder: Path) -> dict[str, Any]:
        session.read("people", PEOPLE, people)
        session.read("visits", VISITS, [*visits, held])
        session.table("PUBLISHED", published)
        session.add_published("people", "SELECT * FROM PUBLISHED")
        session.deduplicate("people")
        session.deduplicate("visits")
        session.view("JOINED", "SELECT v.ID, p.NAME FROM visits AS v INNER JOIN people AS p ON v.PERSON_ID = p.ID")
        selects = {name: f"SELECT * FROM {name}" for name in ("people", "visits", "JOINED")}
        return looked_at(session, ["people", "visits"], selects, folder)

    found = compared(work, policy=NEVER)
    assert found["JOINED"]
    (held_outcome,) = (outcome for outcome in found["visits: outcomes"] if outcome["waiting"])
    assert held_outcome["released"] == ("q1",)


@pytest.mark.parametrize(
    "rule",
    [
        test_versions.test_of_equally_new_versions_a_fresh_one_wins_then_the_one_listed_last_whatever_reads_them,
        test_versions.test_waiting_records_that_lack_a_column_that_is_required_by_now_keep_waiting,
    ],
    ids=lambda rule: rule.__name__,
)
def test_a_rule_of_the_embedded_engine_holds(rule: Callable[[Path], None], tmp_path: Path) -> None:
    with on_engine(SPARK):
        rule(tmp_path)


def test_rejected_files_are_reported_alike(tmp_path: Path) -> None:
    """Too many bad rows, a missing column, another shape altogether, a cut gzip, an empty file."""
    broken = [landed(tmp_path / "many.csv", "\n".join([HEADER, *(f"{n:09d},x," for n in range(30)), "1,Ada,"]))]
    broken += [landed(tmp_path / "column.csv", "NAME,NOTE\nAda,\n"), landed(tmp_path / "empty.csv", "")]
    broken += [landed(tmp_path / "cut.csv", b"\x1f\x8b\x08\x00broken"), landed(tmp_path / "header.csv", HEADER)]
    shapes = [landed(tmp_path / "shape.json", json.dumps([{"id": n, "total": 1} for n in range(30)]))]
    shapes += [landed(tmp_path / "cut.json", '[{"order_id": 1},'), landed(tmp_path / "none.json", "plain words")]
    shapes += [landed(tmp_path / "bad.json", json.dumps([order(n, products=[product(price="x")]) for n in range(30)]))]
    shapes += [landed(tmp_path / "good.json", text(order("kept")))]

    found = compared(reading(PEOPLE, broken))
    assert [bad["code"] for bad in found["people: bad"]]
    found = compared(reading(ORDERS, shapes))
    assert {outcome["landed"].rpartition("/")[2] for outcome in found["orders: outcomes"] if outcome["rejection"]} == {
        "shape.json",
        "cut.json",
        "none.json",
        "bad.json",
    }


def test_a_session_without_files_works_on_what_is_known(tmp_path: Path) -> None:
    published = known(tmp_path, ("1", "Ada", "x", 0))

    def work(session: Session, folder: Path) -> dict[str, Any]:
        session.read("people", PEOPLE, [])
        session.table("PUBLISHED", published)
        session.add_published("people", "SELECT * FROM PUBLISHED")
        session.deduplicate("people")
        return looked_at(session, ["people"], {"people": "SELECT * FROM people"}, folder)

    assert len(compared(work)["people"]) == 1
