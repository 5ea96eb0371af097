"""Landed Parquet files: typed values are never cleaned, never rounded, and judged by the rules for all formats."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline_assets.contracts.model import Dialect
from pipeline_assets_tests.support.engine_session import (
    NEVER,
    PEOPLE,
    landed,
    opened,
    read,
    rows,
)
from pipeline_assets_tests.support.parquet_files import NS, SALES, at, check_cases, every_case, parquet, replay, sales


def test_null_is_not_an_empty_text_and_blanks_stay(tmp_path: Path) -> None:
    table = pa.table({"name": [" Ada ", "", None], "ID": ["1", "2", "3"], "note": ["N/A", None, ""]})
    contract = replace(PEOPLE, dialect=Dialect(null_text="N/A"))
    found, bad, _ = read(contract, parquet(tmp_path / "a.parquet", table))
    assert found == [("1", " Ada ", "N/A"), ("2", "", None), ("3", None, "")]
    assert not bad


def test_an_empty_text_or_null_is_no_key(tmp_path: Path) -> None:
    found, bad, _ = read(PEOPLE, parquet(tmp_path / "a.parquet", pa.table({"ID": ["", None, " "]})))
    assert [(record.line, record.code, record.raw) for record in bad] == [
        (1, "missing_key", '{"ID":""}'),
        (2, "missing_key", '{"ID":null}'),
    ]
    assert found == [(" ", None, None)]


def test_csv_and_parquet_files_are_in_one_batch(tmp_path: Path) -> None:
    found, _, outcomes = read(
        PEOPLE,
        landed(tmp_path / "a.csv", "ID,NAME,NOTE\n1, Ada ,x\n2,Bob,\n"),
        parquet(tmp_path / "B.PARQUET", pa.table({"ID": ["2", "3"], "NAME": ["Eve ", None]}), days=1),
    )
    assert found == [("1", "Ada", "x"), ("2", "Eve ", None), ("3", None, None)]
    assert {outcome.landed.uri[-1]: (outcome.loaded, outcome.superseded) for outcome in outcomes} == {
        "v": (1, 1),
        "T": (2, 0),
    }


def test_every_type_is_read_exactly_or_quarantined(tmp_path: Path) -> None:
    check_cases(tmp_path, every_case())


def test_a_text_that_means_null_in_csv_files_is_a_value_in_reasons_too(tmp_path: Path) -> None:
    contract = replace(SALES, dialect=Dialect(null_text="N/A"))
    _, (bad,), _ = read(contract, parquet(tmp_path / "a.parquet", sales(AMOUNT=["N/A"])), policy=NEVER)
    assert bad.reason == 'AMOUNT: a number that fits NUMBER(18,4) was expected, "N/A" found.'


def test_floats_that_stand_for_decimals_are_counted(tmp_path: Path) -> None:
    floats = replace(SALES, columns=tuple(replace(c, writes_floats=c.name == "AMOUNT") for c in SALES.columns))
    values = [0.30000000000000004, 0.3, 32.380001100000001, 0.12345]
    found, bad, (outcome,) = read(floats, parquet(tmp_path / "a.parquet", sales(AMOUNT=values)))
    assert [row[1] for row in found] == [Decimal("0.3"), Decimal("0.3"), Decimal("32.38")]
    assert (outcome.floats, [record.line for record in bad]) == (2, [4])


# --- columns -------------------------------------------------------------------------------------------------


def test_columns_that_are_not_in_the_contract_keep_their_typed_values(tmp_path: Path) -> None:
    table = pa.table(
        {
            "ID": ["1", "2"],
            "Price": pa.array([Decimal("12345678901234567890.10"), None], pa.decimal128(38, 2)),
            "tags": [["a", None], []],
            "ratio": [float("nan"), 0.1],
            "on": [True, None],
            "at": pa.array([datetime(2026, 1, 2, 3, tzinfo=UTC), None], pa.timestamp("us", "Europe/Berlin")),
            "raw": [b"\xff", b"x"],
            'odd "näme"': ["", None],
            "deep": [{"f": float("inf"), "d": date(2026, 1, 2)}, None],
        }
    )
    with opened() as session:
        session.read("people", PEOPLE, [parquet(tmp_path / "a.parquet", table)])
        session.deduplicate("people")
        found = [text for _, text in rows(session, "SELECT ID, _RESCUED FROM people")]
        (outcome,) = session.outcomes("people")
    assert found == [
        '{"PRICE":12345678901234567890.10,"TAGS":["a",null],"RATIO":"nan","ON":true,"AT":"2026-01-02 03:00:00+00",'
        r'"RAW":"\\xFF","ODD \"NÄME\"":"","DEEP":"{\"f\":Infinity,\"d\":\"2026-01-02\"}"}',
        '{"TAGS":[],"RATIO":0.1,"RAW":"x"}',
    ]
    assert outcome.unknown_columns == ("PRICE", "TAGS", "RATIO", "ON", "AT", "RAW", 'ODD "NÄME"', "DEEP")
    assert outcome.missing_columns == ("NAME", "NOTE")


def test_a_nested_value_in_a_text_column_is_its_json(tmp_path: Path) -> None:
    values = [{"a": 1, "b": [Decimal("1.50")]}, None]
    kind = pa.struct([("a", pa.int64()), ("b", pa.list_(pa.decimal128(38, 2)))])
    for note, text in (
        (pa.array(values, kind), '{"a":1,"b":[1.50]}'),
        (pa.array([[("k", 1.5)], None], pa.map_(pa.string(), pa.float64())), '{"k":1.5}'),
        (pa.array([["x", ""], None]), '["x",""]'),
    ):
        found, bad, _ = read(PEOPLE, parquet(tmp_path / "a.parquet", pa.table({"ID": ["1", "2"], "NOTE": note})))
        assert (found, bad) == ([("1", None, text), ("2", None, None)], [])


def test_a_file_without_a_required_column_is_rejected_with_its_rows(tmp_path: Path) -> None:
    _, (bad,), (outcome,) = read(SALES, parquet(tmp_path / "a.parquet", pa.table({"KIND": ["a", "b"], "X": [1, 2]})))
    assert (bad.code, bad.line, outcome.read, outcome.quarantined) == ("missing_column", None, 2, 2)
    assert "Required columns are missing: NAME." in bad.reason


@pytest.mark.parametrize("names", [["ID", "id"], ["ID", "NAME", "name "]])
def test_a_file_that_names_a_column_twice_is_rejected(tmp_path: Path, names: list[str]) -> None:
    table = pa.Table.from_arrays([pa.array(["1"])] * len(names), names=names)
    _, (bad,), _ = read(PEOPLE, parquet(tmp_path / "a.parquet", table))
    assert bad.code == "malformed_header"


def test_names_of_columns_that_sql_gives_itself_are_plain_columns(tmp_path: Path) -> None:
    table = pa.table({"id": ["1"], "file_index": [7], "file_row_number": [8], "C0": [9], "_FILE": [10], "X0": ["'"]})
    files = [parquet(tmp_path / f"{n}.parquet", table, days=n) for n in range(2)]
    with opened() as session:
        session.read("people", PEOPLE, files)
        session.deduplicate("people")
        found = rows(session, "SELECT ID, _RESCUED, _SOURCE_URI FROM people")
    rescued = '{"FILE_INDEX":7,"FILE_ROW_NUMBER":8,"C0":9,"_FILE":10,"X0":"\'"}'
    assert found == [("1", rescued, "lake://bucket/raw/1.parquet")]


def test_files_with_other_types_of_a_column_are_not_read_by_the_type_of_the_first(tmp_path: Path) -> None:
    files = [
        parquet(tmp_path / f"{scale}.parquet", sales(AMOUNT=pa.array([Decimal("0.1256")], pa.decimal128(9, scale))))
        if scale == 4
        else parquet(tmp_path / f"{scale}.parquet", sales(AMOUNT=pa.array([Decimal("0.12")], pa.decimal128(9, 2))))
        for scale in (2, 4)
    ]
    found, bad, _ = read(SALES, *files)
    assert ([row[1] for row in found], bad) == ([Decimal("0.1200"), Decimal("0.1256")], [])


# --- bad values ----------------------------------------------------------------------------------------------


def test_bytes_that_are_no_text_are_quarantined(tmp_path: Path) -> None:
    table = pa.table({"ID": [b"1", b"\xff\x00", None], "NAME": [b"\xc3\xa9", None, b"x"], "raw": [b"\xff"] * 3})
    found, bad, _ = read(PEOPLE, parquet(tmp_path / "a.parquet", table))
    assert found == [("1", "é", None)]
    assert [(record.line, record.code) for record in bad] == [(2, "malformed_record"), (3, "missing_key")]
    assert bad[0].reason == "ID: its bytes are not UTF-8 text. Deliver them as text."
    assert bad[0].raw == r'{"ID":"\\xFF\\x00","NAME":null,"RAW":"\\xFF"}'


def test_digits_below_a_microsecond_are_not_cut_off(tmp_path: Path) -> None:
    for zone in (None, "Europe/Berlin"):
        table = sales(MOMENT=pa.array([NS + 1, NS + 1000, NS], pa.timestamp("ns", zone)))
        found, bad, _ = read(SALES, parquet(tmp_path / "a.parquet", table))
        assert [(record.line, record.code) for record in bad] == [(1, "not_a_timestamp")]
        assert [row[4] for row in found] == [at("2026-01-02T03:04:05.000001"), at("2026-01-02T03:04:05")]


def test_old_timestamps_are_read_to_the_microsecond_and_never_cut_off(tmp_path: Path) -> None:
    """Spark and Impala write INT96, and far days as marks."""
    days = [at("0001-01-01T00:00:00.000001"), None, at("9999-12-31T23:59:59.999999"), at("2026-01-02")]
    usual = sales(MOMENT=pa.array(days, pa.timestamp("us")))
    fine = sales(MOMENT=pa.array([NS, None, NS + 1], pa.timestamp("ns")))
    files = [
        parquet(tmp_path / f"{n}.parquet", table, use_deprecated_int96_timestamps=True)
        for n, table in enumerate((usual, fine))
    ]
    found, bad, _ = read(SALES, *files)
    assert sorted(row[4] for row in found if row[4]) == sorted(filter(None, days))
    assert [(record.landed.uri[-9], record.code) for record in bad] == [("1", "unreadable_object")]


def test_times_outside_the_calendar_are_quarantined_one_by_one(tmp_path: Path) -> None:
    outside = [-(2**63), -(2**63) + 1, 2**63 - 1, 253_402_300_800_000_000, -62_135_596_800_000_001]
    for zone in (None, "UTC"):
        table = sales(MOMENT=pa.array([*outside, 0], pa.timestamp("us", zone)))
        found, bad, _ = read(SALES, parquet(tmp_path / "a.parquet", table), policy=NEVER)
        assert [row[4] for row in found] == [at("1970-01-01")]
        assert {record.code for record in bad} == {"not_a_timestamp"}
    days = sales(DAY=pa.array([2**31 - 1, -(2**31), 2_932_897, -719_163, -719_162], pa.int32()).cast(pa.date32()))
    found, bad, _ = read(SALES, parquet(tmp_path / "a.parquet", days), policy=NEVER)
    assert ([row[3] for row in found], len(bad)) == ([date(1, 1, 1)], 4)


def test_a_reason_shows_the_value_as_it_stands_in_the_file_unless_it_is_personal(tmp_path: Path) -> None:
    table = sales(DAY=[at("2026-01-02T03:00")])
    _, (bad,), _ = read(SALES, parquet(tmp_path / "a.parquet", table), policy=NEVER)
    assert (
        bad.raw
        == '{"NAME":"n0","AMOUNT":null,"PIECES":null,"DAY":"2026-01-02 03:00:00","MOMENT":null,"PAID":null,"KIND":null}'
    )
    assert '"2026-01-02 03:00:00" found' in bad.reason
    people = pa.table({"ID": ["1"], "NAME": ["secret" * 40]})
    _, (bad,), _ = read(PEOPLE, parquet(tmp_path / "b.parquet", people), policy=NEVER)
    assert "secret" not in bad.reason


# --- whole files ---------------------------------------------------------------------------------------------


def test_files_without_rows_or_row_groups_load_nothing(tmp_path: Path) -> None:
    empty = pa.table({"ID": pa.array([], pa.string())})
    files = [parquet(tmp_path / "a.parquet", empty), landed(tmp_path / "b.parquet", b"")]
    with pa.parquet.ParquetWriter(tmp_path / "c.parquet", empty.schema):
        pass
    files.append(landed(tmp_path / "c.parquet", (tmp_path / "c.parquet").read_bytes()))
    found, bad, outcomes = read(PEOPLE, *files)
    assert found == []
    assert [(record.landed.uri[-9], record.code) for record in bad] == [("b", "unreadable_object")]
    assert not any(outcome.read for outcome in outcomes)


def test_damaged_and_other_files_are_rejected_and_the_rest_loads(tmp_path: Path) -> None:
    good = parquet(tmp_path / "good.parquet", pa.table({"ID": ["1", "2"]}))
    content = (tmp_path / "good.parquet").read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    damaged = {
        "truncated": content[:-20],
        "csv": b"ID,NAME\n1,x\n",
        "short": b"PAR",
        "no footer": b"PAR1PAR1",
        "long footer": content[:-8] + b"\xff\xff\xff\x7fPAR1",
        "footer": content[:footer] + b"\0" * 40 + content[footer + 40 :],
        "page": content[:4] + b"\0" * 20 + content[24:],
        "encrypted": b"PARE" + content[4:-4] + b"PARE",
    }
    files = [landed(tmp_path / f"{name}.parquet", data) for name, data in damaged.items()]
    long = pa.array([Decimal("1")], pa.decimal256(50, 2))
    files += [parquet(tmp_path / "long.parquet", pa.table({"ID": ["3"], "X": long}))]
    no_columns = pa.table({"ID": ["1"]}).select([])
    files += [parquet(tmp_path / "none.parquet", no_columns)]
    found, bad, _ = read(PEOPLE, *files, good)
    assert [row[0] for row in found] == ["1", "2"]
    assert {r.landed.uri: r.code for r in bad} == {file.landed.uri: "unreadable_object" for file in files}
    assert all(record.reason.count("\n") == 0 and "\0" not in record.reason for record in bad)


def test_a_nested_time_outside_the_calendar_rejects_its_file_and_no_other(tmp_path: Path) -> None:
    """DuckDB fails to write it, as a text and as JSON; one column of it costs no other file."""
    nested = pa.array([[-(2**63)]], pa.list_(pa.timestamp("us")))
    milliseconds = pa.array([2**62], pa.timestamp("ms"))
    files = [
        parquet(tmp_path / f"{n}.parquet", pa.table({"ID": ["1"], "NOTE": values}))
        for n, values in enumerate((nested, milliseconds, pa.array(["x"])))
    ]
    found, bad, _ = read(PEOPLE, *files)
    assert found == [("1", None, "x")]
    assert [(record.landed.uri[-9], record.code) for record in bad] == [
        ("0", "unreadable_object"),
        ("1", "unreadable_object"),
    ]


def test_the_stored_copy_of_an_object_says_whether_it_is_parquet(tmp_path: Path) -> None:
    """A member of an archive is identified by the archive."""
    file = parquet(tmp_path / "a.parquet", pa.table({"ID": [1]}))
    member = replace(file, landed=replace(file.landed, uri="lake://bucket/a.zip"), place=file.landed)
    assert read(PEOPLE, member)[0] == [("1", None, None)]


def test_texts_and_names_that_are_no_utf_8_reject_their_file(tmp_path: Path) -> None:
    texts = pa.table({"ID": pa.array([b"1", b"caf\xe9"]).view(pa.string())})
    files = [parquet(tmp_path / "a.parquet", texts), parquet(tmp_path / "b.parquet", pa.table({"ID": ["1"]}))]
    named = parquet(tmp_path / "c.parquet", pa.table({"ID": ["1"], "caffee": ["x"]}))
    content = named.path.read_bytes().replace(b"caffee", b"caf\xff\xe9e")
    found, bad, _ = read(PEOPLE, *files, landed(tmp_path / "c.parquet", content))
    assert found == [("1", None, None)]
    assert [(record.landed.uri[-9], record.code) for record in bad] == [
        ("a", "unreadable_object"),
        ("c", "unreadable_object"),
    ]


def test_a_packed_parquet_file_is_unpacked(tmp_path: Path) -> None:
    import gzip

    parquet(tmp_path / "a.parquet", pa.table({"ID": ["1"]}))
    packed = landed(tmp_path / "a.parquet.gz", gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert read(PEOPLE, packed)[0] == [("1", None, None)]


# --- replay --------------------------------------------------------------------------------------------------


def test_a_replayed_record_is_released_once_it_is_valid(tmp_path: Path) -> None:
    table = sales(PIECES=[1.5, 2.5], KIND=["", "a"])
    _, bad, _ = read(SALES, parquet(tmp_path / "a.parquet", table), policy=NEVER)
    mended = replace(SALES, columns=tuple(replace(c, accepted=()) for c in SALES.columns if c.name != "PIECES"))
    found, still_bad, (outcome,) = read(mended, replay(tmp_path, SALES, bad), policy=NEVER)
    assert ([(row[0], row[-1]) for row in found], still_bad) == ([("n0", ""), ("n1", "a")], [])
    assert outcome.released == ("q1", "q2")
    _, again, (outcome,) = read(SALES, replay(tmp_path, SALES, bad), policy=NEVER)
    assert [(r.line, r.code, r.raw, r.columns, r.quarantine_id) for r in again] == [
        (r.line, r.code, r.raw, r.columns, f"q{r.line}") for r in bad
    ]
    assert outcome.released == ()
