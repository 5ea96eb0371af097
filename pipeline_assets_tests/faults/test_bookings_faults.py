"""The rows of the fault table that are not crashes, for `bookings`; each test names its row."""

from __future__ import annotations

import gzip
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets.batch.outputs import Outputs
from pipeline_assets.engine.duckdb.engine import DuckDBSession
from pipeline_assets.errors import WarehouseError
from pipeline_assets.lake import LocalLake
from pipeline_assets.warehouse import transaction
from pipeline_assets_tests.support.bookings_lake import (
    BOOKING_HEADER,
    CUSTOMER_HEADER,
    BookingsLake,
    booking,
    customer,
    with_date_format,
)
from pipeline_assets_tests.support.command_line import process, run_code

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_row_2_the_same_event_again_and_again_is_one_load(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1), booking(2, 1))
    reports = [lake.run() for _ in range(5)]
    assert [report.loaded for report in reports] == [2] + [0] * 4
    assert lake.rows("SELECT COUNT(*) FROM OPS.FILE_LEDGER") == [(2,)]
    assert len(lake.processed()) == 1


@pytest.mark.slow
def test_rows_2_and_19_two_runs_at_once_in_two_processes_load_once(lake: BookingsLake) -> None:
    """One waits for the other; both succeed; the result is as from one."""
    lake.customers("", *(customer(number) for number in range(50)))
    lake.bookings("", *(booking(number, number % 50) for number in range(2000)))
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda _: process(lake.home, "run", "bookings", "--json"), range(3)))
    assert [run.returncode for run in ended] == [0, 0, 0], ended
    answers = [json.loads(run.stdout) for run in ended]
    assert sorted(answer["objects"]["loaded"] for answer in answers) == [0, 0, 2]
    assert lake.rows("SELECT COUNT(*), COUNT(DISTINCT BOOKING_ID) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(2000, 2000)]
    assert lake.rows("SELECT COUNT(*) FROM OPS.FILE_LEDGER") == [(2,)]
    assert len(lake.processed()) == 1


def test_row_19_a_plan_made_stale_by_another_machine_publishes_nothing(
    lake: BookingsLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine does not share the file lock: the publication itself must notice."""
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    other = BookingsLake.at(lake.home)
    make = Outputs.make
    reports = []

    def meanwhile(outputs: Outputs) -> None:
        make(outputs)
        if not reports:
            monkeypatch.setattr(Outputs, "make", make)
            elsewhere = other.with_platform(locks=lake.home / "locks-of-another-machine", scratch=lake.home / "other")
            reports.append(elsewhere.run())

    monkeypatch.setattr(Outputs, "make", meanwhile)
    with pytest.raises(WarehouseError, match="published first"):
        lake.run()
    assert reports[0].loaded == 2
    assert lake.run().new == 0
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(1,)]
    assert len(lake.processed()) == 1
    assert not lake.staged()


def test_row_4_the_same_key_with_new_bytes_is_a_new_object_and_wins(lake: BookingsLake) -> None:
    lake.customers("", customer(1), modified=START)
    lake.bookings("", booking(1, 1, "10.00"), booking(2, 1), modified=START)
    lake.run()
    lake.bookings("", booking(1, 1, "12.50"), booking(2, 1), modified=START + timedelta(seconds=1))
    report = lake.run()
    assert (report.new, report.known, report.loaded) == (1, 1, 1)
    assert lake.rows("SELECT BOOKING_ID, AMOUNT_SPENT::VARCHAR FROM BOOKINGS.CUSTOMER_BOOKINGS ORDER BY 1") == [
        ("1", "12.5000"),
        ("2", "10.0000"),
    ]
    (changed,) = [path for path in lake.processed() if report.batch_id and report.batch_id in path.name]
    assert [line.split(",")[0] for line in changed.read_text().splitlines()] == ["BOOKING_ID", "1"]


def test_row_5_an_object_overwritten_while_it_is_read_is_left_to_the_next_run(
    lake: BookingsLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1, "1.00"))
    lake.bookings("_other", booking(2, 1, "2.00"))
    read = DuckDBSession.read
    overwritten = []

    def then_overwrite(session: DuckDBSession, name: str, *arguments: object) -> None:
        read(session, name, *arguments)  # type: ignore[arg-type]
        if name == "bookings" and not overwritten:
            overwritten.append(lake.bookings("", booking(1, 1, "3.00"), booking(3, 1, "4.00")))

    monkeypatch.setattr(DuckDBSession, "read", then_overwrite)
    report = lake.run()
    assert [uri.rpartition("/")[2] for uri in report.requeued] == ["booking_details.csv"]
    assert lake.rows("SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS") == [("2",)]
    assert not lake.staged()
    lake.run()
    assert [row[0] for row in lake.tables()["CUSTOMER_BOOKINGS"]] == ["1", "2", "3"]
    assert str(lake.tables()["CUSTOMER_BOOKINGS"][0][12]) == "3.0000"


UNREADABLE = {
    "truncated.csv.gz": gzip.compress(b"BOOKING_ID,CUSTOMER_ID\n" + os.urandom(20_000).hex().encode())[:9_000],
    "not_gzip_inside.csv.gz": b"\x1f\x8b" + b"no gzip at all" * 100,
    "binary.csv": bytes(range(256)) * 100,
    "parquet.csv": b"PAR1" + bytes(1000),
    "utf16.csv": BOOKING_HEADER.encode("utf-16"),
}


def test_row_6_unreadable_objects_are_rejected_and_the_rest_of_the_batch_loads(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    for name, content in UNREADABLE.items():
        lake.write(f"booking_details_{name}", content)
    report = lake.run()
    assert (report.loaded, report.rejected) == (2, len(UNREADABLE))
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(1,)]
    alerts = (lake.home / "alerts.jsonl").read_text().splitlines()
    for name in UNREADABLE:
        assert lake.rows(
            f"SELECT STATUS, ROWS_LOADED FROM OPS.FILE_LEDGER WHERE URI LIKE '%booking_details_{name}'"
        ) == [("rejected", 0)], name
        assert len([alert for alert in alerts if name in alert]) == 1, name
    assert lake.run().new == 0


@pytest.mark.slow
def test_row_7_one_poison_row_in_a_million_waits_alone_and_replay_completes_the_million(lake: BookingsLake) -> None:
    """After the contract is corrected, replay loads exactly the one that was missing, once."""
    count, poisoned = 1_000_000, 654_321
    lake.customers("", customer(1))
    rows = [booking(number, 1) for number in range(count)]
    rows[poisoned] = booking(poisoned, 1, date="24.05.2005")
    lake.bookings("", *rows)
    report = lake.run()
    assert report.rows == {"read": count + 1, "loaded": count, "superseded": 0, "quarantined": 1}
    ((line, code, raw, reason),) = lake.rows("SELECT LINE_NUMBER, REASON_CODE, RAW_RECORD, REASON FROM OPS.QUARANTINE")
    assert (int(line), code, raw) == (poisoned + 2, "not_a_date", rows[poisoned])
    assert "24.05.2005" in reason

    corrected = with_date_format(lake, "DD.MM.YYYY")
    assert corrected.run(replay=True).released == 1
    assert corrected.run(replay=True).released == 0
    assert lake.rows("SELECT COUNT(*), COUNT(DISTINCT BOOKING_ID) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(count, count)]
    assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL") == [(0,)]


def test_row_8_more_poison_than_the_threshold_rejects_the_object_and_loads_nothing_of_it(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", *(booking(n, 1, "x" if n % 3 else "1.00") for n in range(30)))
    lake.bookings("_good", booking(100, 1))
    report = lake.run()
    assert (report.loaded, report.rejected) == (2, 1)
    assert report.rows["quarantined"] == 30
    assert lake.rows("SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS") == [("100",)]
    ((code, line, reason),) = lake.rows("SELECT REASON_CODE, LINE_NUMBER, REASON FROM OPS.QUARANTINE")
    assert (code, line) == ("too_many_bad_rows", None)
    assert "20 of 30" in reason
    assert "Line 3" in reason
    assert json.loads((lake.home / "alerts.jsonl").read_text())["level"] == "error"


def test_row_8_a_rejected_object_is_taken_again_by_a_replay_after_the_threshold_was_changed(lake: BookingsLake) -> None:
    lake.customers("", customer(1))
    lake.bookings("", *(booking(n, 1, "x" if n % 3 else "1.00") for n in range(30)))
    lake.run()
    assert BookingsLake.at(lake.home, reject_share=0.9).run(replay=True).loaded == 1
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(10,)]
    assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE") == [(20,)]


def test_row_14_text_that_looks_like_a_formula_is_stored_faithfully(lake: BookingsLake) -> None:
    texts = ["=1+1", "+49 30", "-x", '@SUM(A1)"quoted"']
    lake.customers("", *(f'{n},"{t.replace(chr(34), chr(34) * 2)}",B,e,,a,GB,1' for n, t in enumerate(texts)))
    lake.run()
    assert [row[1] for row in lake.tables()["CUSTOMERS"]] == texts


class TestRow15:
    """Columns added, removed, renamed, retyped, reordered: exactly the policy's outcome, with a difference."""

    def test_an_added_column_survives_as_json_and_is_reported(self, lake: BookingsLake) -> None:
        lake.write("customer_details.csv", f"{CUSTOMER_HEADER},Loyalty Tier\n{customer(1)},gold\n{customer(2)},\n")
        report = lake.run()
        assert list(report.unknown_columns.values()) == [["LOYALTY TIER"]]
        rescued = dict(lake.rows("SELECT CUSTOMER_ID, _RESCUED FROM BOOKINGS.CUSTOMERS"))
        assert json.loads(rescued["1"]) == {"LOYALTY TIER": "gold"}
        assert rescued["2"] is None

    def test_a_removed_optional_column_loads_nulls_and_is_reported(self, lake: BookingsLake) -> None:
        lake.write("customer_details.csv", "CUSTOMER_ID,FIRST_NAME\n1,Ada\n")
        report = lake.run()
        assert "EMAIL" in next(iter(report.missing_columns.values()))
        assert lake.tables()["CUSTOMERS"][0][:3] == ("1", "Ada", None)

    def test_a_renamed_required_column_rejects_the_file_with_the_difference(self, lake: BookingsLake) -> None:
        lake.write("booking_details.csv", BOOKING_HEADER.replace("BOOKING_ID", "BOOKING_NO") + "\n" + booking(1, 1))
        assert lake.run().rejected == 1
        ((code, reason),) = lake.rows("SELECT REASON_CODE, REASON FROM OPS.QUARANTINE")
        assert code == "missing_column"
        assert "missing: BOOKING_ID" in reason
        assert "not in the contract: BOOKING_NO" in reason

    def test_a_retyped_column_is_rejected_by_its_share_of_bad_rows(self, lake: BookingsLake) -> None:
        lake.customers("", customer(1))
        lake.bookings("", *(booking(n, 1, "ten") for n in range(25)))
        assert lake.run().rejected == 1

    def test_reordered_columns_in_any_case_load_alike(self, lake: BookingsLake) -> None:
        lake.write("customer_details.csv", "first_name, Customer_Id ,segment_ID\nAda,1,7\n")
        lake.run()
        assert lake.tables()["CUSTOMERS"] == [("1", "Ada", None, None, None, None, None, "7")]


def test_row_20_versions_come_from_the_store_and_never_from_the_local_clock(lake: BookingsLake) -> None:
    """A clock that is years ahead or behind when the older version is taken last changes nothing."""
    lake.customers("", customer(1, "Newer"), modified=START + timedelta(hours=1))
    lake.with_platform(clock=lambda: datetime(1999, 12, 31)).run()  # noqa: DTZ001 - a clock without a zone
    lake.customers("_late", customer(1, "Older"), modified=START)
    report = lake.with_platform(clock=lambda: datetime(2040, 3, 31, 2, 30)).run()  # noqa: DTZ001
    assert report.rows["superseded"] == 1
    assert [row[1] for row in lake.tables()["CUSTOMERS"]] == ["Newer"]


@pytest.mark.parametrize("zone", ["America/St_Johns", "Pacific/Kiritimati", "Europe/Dublin"])
def test_row_20_the_machines_time_zone_changes_nothing(
    lake: BookingsLake, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        lake.customers("", customer(1), modified=datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
        lake.bookings("", booking(1, 1, date="25-10-2026"))
        lake.run()
        assert lake.rows("SELECT _SOURCE_MODIFIED_AT FROM BOOKINGS.CUSTOMERS") == [(datetime(2026, 10, 25, 0, 30),)]  # noqa: DTZ001
        assert str(lake.tables()["DAILY_SPEND"][0][0]) == "2026-10-25"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_row_24_an_existence_check_that_fails_for_a_moment_fails_the_run_and_creates_nothing(
    lake: BookingsLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.customers("", customer(1))
    lake.run()
    run_statement = transaction.run_statement

    def failing(where: object, sql: str, params: object = None) -> object:
        if "INFORMATION_SCHEMA.COLUMNS" in sql:
            raise WarehouseError("The warehouse did not answer.")
        assert not sql.startswith(("CREATE TABLE", "DROP", "CREATE OR REPLACE"))
        return run_statement(where, sql, params)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(transaction, "run_statement", failing)
        with pytest.raises(WarehouseError, match="did not answer"):
            lake.run()
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMERS") == [(1,)]
    assert lake.run().known == 1


def test_row_27_a_batch_whose_files_could_not_be_handed_out_is_finished_by_the_next_run(
    lake: BookingsLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    with monkeypatch.context() as patched:
        patched.setattr(LocalLake, "move", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
        with pytest.raises(OSError, match="Read-only"):
            lake.run()
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(1,)]
    assert not lake.processed()
    assert lake.run().new == 0
    assert len(lake.processed()) == 1
    assert not lake.staged()


@pytest.mark.slow
def test_row_29_a_full_disk_fails_the_run_with_the_state_intact(lake: BookingsLake) -> None:
    """RLIMIT_FSIZE stands in for the full disk: the write itself is refused by the kernel."""
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    lake.run()
    before = lake.tables()
    lake.bookings("_big", *(booking(n, 1) for n in range(100_000)))
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000)); "
        "from pipeline_assets.cli import main; main()"
    )
    assert run_code(lake.home, limited, "run", "bookings", "--json").returncode == 1
    assert lake.tables() == before
    assert lake.run().loaded == 1
    assert lake.rows("SELECT COUNT(*) FROM BOOKINGS.CUSTOMER_BOOKINGS") == [(100_000,)]
    assert not lake.staged()


def test_row_30_personal_data_and_secrets_are_in_no_log_alert_or_metadata(
    lake: BookingsLake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lake.customers("", *("," + customer(n, "Secretname").partition(",")[2] for n in range(30)))
    lake.run()
    told = caplog.text + (lake.home / "alerts.jsonl").read_text()
    assert "rejected" in told
    assert "Secretname" not in told


def test_row_31_sql_in_names_and_data_does_nothing(lake: BookingsLake) -> None:
    evil = "x'; DROP TABLE BOOKINGS.CUSTOMERS; --"
    lake.customers("", customer(1, evil.replace(",", " ")), f"2,{evil},B,e,,a,GB,1")
    lake.write(f"customer_details {evil}.csv", f'{CUSTOMER_HEADER},"x; drop table y","a""b"\n{customer(3)},1,2\n')
    lake.write("booking_details[1]*?.csv", f"{BOOKING_HEADER}\n{booking(1, 1, kind=evil)}\n{booking(2, evil)}\n")
    report = lake.run()
    assert (report.loaded, report.rejected) == (3, 0)
    assert [row[1] for row in lake.tables()["CUSTOMERS"]] == [evil, evil, "Ada"]
    assert lake.tables()["CUSTOMER_BOOKINGS"][0][11] == evil
    ((rescued,),) = lake.rows("SELECT _RESCUED FROM BOOKINGS.CUSTOMERS WHERE CUSTOMER_ID = '3'")
    assert json.loads(rescued) == {"X; DROP TABLE Y": "1", 'A"B': "2"}
    ((raw,),) = lake.rows("SELECT RAW_RECORD FROM OPS.QUARANTINE")
    assert evil in raw


def test_many_readers_while_a_run_publishes_see_whole_batches_only(lake: BookingsLake) -> None:
    """Each batch replaces both bookings; a reader must never see one of them alone."""
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1, "1.00"), booking(2, 1, "1.00"), modified=START)
    lake.run()
    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(_amounts_until, lake.home, 4)
        for version in range(2, 5):
            moment = START + timedelta(minutes=version)
            lake.bookings("", booking(1, 1, f"{version}.00"), booking(2, 1, f"{version}.00"), modified=moment)
            lake.run()
        assert all(len(set(amounts)) == 1 and len(amounts) == 2 for amounts in seen.result(timeout=120))


def _amounts_until(home: Path, last: int) -> list[list[str]]:
    """Read from another process until the last version is there."""
    script = (
        "import sys, json, time\n"
        "from pathlib import Path\n"
        "from pipeline_assets_tests.support.bookings_lake import BookingsLake\n"
        "lake, seen = BookingsLake.at(Path(sys.argv[1])), []\n"
        "while not seen or seen[-1][0] != sys.argv[2]:\n"
        "    time.sleep(0.05)  # a reader that never lets go of the lock would starve the run\n"
        "    seen.append([str(int(r[12])) for r in lake.tables()['CUSTOMER_BOOKINGS']])\n"
        "print(json.dumps(seen))\n"
    )
    done = run_code(home, script, home, last)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
