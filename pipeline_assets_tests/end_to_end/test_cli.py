"""The console script as a hurried stranger uses it: results on stdout, the rest on stderr, exit codes that tell."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_assets import cli, pipelines
from pipeline_assets.bookings.pipeline import BOOKINGS
from pipeline_assets.contracts import load_contract
from pipeline_assets.pipeline import declared_files, resolve
from pipeline_assets_tests.support.bookings_lake import BOOKING_HEADER, BookingsLake, booking, customer
from pipeline_assets_tests.support.command_line import environment, process, start
from pipeline_assets_tests.support.pipeline_lake import copy_home

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(lake: BookingsLake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Call the console script in this process; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("PIPELINE_HOME", str(lake.home))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline-assets", *arguments])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def after_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a loaded batch and two quarantined records, to copy from."""
    lake = BookingsLake.with_tables(tmp_path_factory.mktemp("loaded") / "home")
    lake.customers("", customer(1), customer(2))
    lake.bookings("", booking(1, 1, "10.10"), booking(2, 2, "x"), booking(3, 9))
    assert process(lake.home, "run", "bookings").returncode == 0
    return lake.home


@pytest.fixture
def loaded(lake: BookingsLake, after_a_run: Path) -> BookingsLake:
    copy_run(after_a_run, lake.home)
    return lake


def copy_run(after_a_run: Path, home: Path) -> None:
    shutil.rmtree(home)
    copy_home(after_a_run, home)


def test_run_json_is_one_object_with_the_documented_fields(lake: BookingsLake, command) -> None:
    lake.customers("", customer(1), customer(1, "Newer"))
    lake.bookings("", booking(1, 1), booking(2, 1, "x"), booking(3, 9))
    code, out, _ = command("run", "bookings", "--json")
    answer = json.loads(out)
    assert code == 0
    assert set(answer) == {"pipeline", "success", "run_id", "seconds", "objects", "rows", "assets", "checks"}
    assert answer["objects"] == {"new": 2, "known": 0, "loaded": 2, "rejected": 0}
    assert answer["rows"] == {"read": 5, "loaded": 2, "superseded": 1, "quarantined": 2}
    assert {"key": "bookings/daily_spend", "status": "materialized"} in answer["assets"]
    quarantine = next(check for check in answer["checks"] if check["name"] == "quarantine")
    assert quarantine == {
        "asset": "bookings/customers",
        "name": "quarantine",
        "passed": False,
        "severity": "WARN",
        "next_command": "pipeline-assets quarantine list bookings",
    }


def test_the_run_is_recorded_in_the_instance_with_its_metadata(loaded: BookingsLake) -> None:
    import dagster as dg

    from pipeline_assets.orchestration.execution import dagster_instance

    with dagster_instance(loaded.home / "dagster") as instance:
        (run,) = instance.get_runs()
        event = instance.get_latest_materialization_event(dg.AssetKey(["bookings", "customer_bookings"]))
    assert run.status is dg.DagsterRunStatus.SUCCESS
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == 1
    assert metadata["batch_objects_loaded"].value == 2
    assert metadata["batch_bytes_read"].value > 0
    assert "INNER JOIN CUSTOMERS" in metadata["sql"].value
    assert "example.org" not in metadata["preview"].value
    assert "•••" in metadata["preview"].value


def test_query_json_keeps_decimals_exact_and_names_as_the_warehouse_has_them(loaded: BookingsLake, command) -> None:
    code, out, _ = command(
        "query",
        "SELECT BOOKING_ID, AMOUNT_SPENT, BOOKING_DATE, PHONE_NUMBER, 1 AS ONE FROM BOOKINGS.CUSTOMER_BOOKINGS",
        "--format", "json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out) == [
        {"BOOKING_ID": "1", "AMOUNT_SPENT": "10.1000", "BOOKING_DATE": "2005-05-24", "PHONE_NUMBER": None, "ONE": 1}
    ]


def test_query_csv_is_csv(loaded: BookingsLake, command) -> None:
    code, out, _ = command("query", "SELECT 'a,\"b' AS X, NULL AS Y", "--format", "csv")
    assert code == 0
    assert list(csv.reader(io.StringIO(out))) == [["X", "Y"], ['a,"b', ""]]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "nope"), 2, "The pipelines are bookings"),
        (("run",), 2, "Missing argument"),
        (("run", "bookings", "--extract"), 2, "no source to extract from"),
        (("query", "SELECT 1; SELECT 2"), 2, "One statement at a time"),
        (("query", ""), 2, "no statement"),
        (("query", "SELECT * FROM NOPE.NOPE"), 1, "does not exist"),
        (("query", "SELEC 1"), 1, "refused"),
        (("query", "SELECT 'unfinished"), 2, "Not Snowflake SQL"),
        (("quarantine", "show", "nope"), 2, "No quarantined record"),
        (("quarantine", "list", "nope"), 2, "The pipelines are bookings"),
        (("quarantine", "export", "/nope/x.csv"), 2, "cannot be written"),
        (("quarantine", "export", "bookings"), 2, "bookings is a pipeline, and no file is named."),
        (("samples", "nope"), 2, "The pipelines are bookings"),
        (("samples", "bookings", "--scale", "0"), 2, "scale"),
        (("demo", "--scale", "-1"), 2, "scale"),
    ],
)
def test_a_mistake_gets_one_clear_line_and_no_traceback(command, arguments, code, message) -> None:
    got, out, err = command(*arguments)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_the_demo_writes_to_no_account(command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELINE_PROFILE", "aws")
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "another"))
    got, _, err = command("demo")
    assert got == 2
    assert "The demo writes samples to a local lake; the profile is aws." in err
    assert not [path for path in (tmp_path / "another" / "lake").rglob("*") if path.is_file()]


def test_a_failed_run_says_why_and_exits_with_1(lake: BookingsLake, command, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline_assets.warehouse import publication

    lake.customers("", customer(1))
    monkeypatch.setattr(
        publication, "_fill", lambda *_: (_ for _ in ()).throw(publication.RowAccountingError("Off by one."))
    )
    code, out, err = command("run", "bookings", "--json")
    answer = json.loads(out)
    assert code == 1
    assert answer["success"] is False
    assert answer["error"] == "Off by one."
    assert {asset["status"] for asset in answer["assets"]} == {"failed"}
    assert "Traceback" not in err
    alert = json.loads((lake.home / "alerts.jsonl").read_text())
    assert (alert["level"], alert["facts"]["error"]) == ("error", "Off by one.")


def test_quarantine_lists_without_records_shows_and_exports_them(loaded: BookingsLake, command, tmp_path: Path) -> None:
    code, out, _ = command("quarantine", "list")
    assert code == 0
    assert "not_a_number" in out
    assert "orphan_booking" in out
    ((quarantine_id, raw),) = loaded.rows(
        "SELECT QUARANTINE_ID, RAW_RECORD FROM OPS.QUARANTINE WHERE REASON_CODE = 'not_a_number'"
    )
    assert raw not in out
    code, out, _ = command("quarantine", "show", quarantine_id)
    assert raw in out
    code, _, err = command("quarantine", "export", str(tmp_path / "out.csv"), "bookings")
    assert "2 records" in err
    with open(tmp_path / "out.csv", newline="") as file:
        assert raw in {row["RAW_RECORD"] for row in csv.DictReader(file)}


def test_replay_loads_what_passes_by_now_once(loaded: BookingsLake, command) -> None:
    loaded.customers("_late", customer(9))
    assert command("run", "bookings")[0] == 0
    code, out, _ = command("quarantine", "replay", "bookings", "--json")
    assert code == 0
    assert json.loads(out)["success"] is True
    assert loaded.rows("SELECT BOOKING_ID FROM BOOKINGS.CUSTOMER_BOOKINGS ORDER BY 1") == [("1",), ("3",)]


def test_reprocess_takes_known_objects_again_and_changes_nothing(loaded: BookingsLake, command) -> None:
    before = loaded.tables()
    code, out, _ = command("run", "bookings", "--reprocess", "--json")
    assert code == 0
    assert json.loads(out)["objects"] == {"new": 2, "known": 0, "loaded": 2, "rejected": 0}
    assert loaded.tables() == before
    assert loaded.rows("SELECT COUNT(*) FROM OPS.QUARANTINE") == [(2,)]


def test_status_before_and_after_a_run(lake: BookingsLake, after_a_run: Path, command) -> None:
    code, out, _ = command("status")
    assert code == 0
    assert "never" in out
    copy_run(after_a_run, lake.home)
    told = command("status")[1].splitlines()
    assert [("never" in line) for line in told if "bookings" in line or "orders" in line] == [False, True]


def test_doctor_passes_and_masks_secrets(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SNOWFLAKE_PRIVATE_KEY", "very secret")
    code, out, err = command("doctor")
    assert code == 0, out + err
    assert "very secret" not in out + err
    assert "PIPELINE_SNOWFLAKE_PRIVATE_KEY" in out
    assert "FAIL" not in out


def test_doctor_names_what_does_not_work(command, lake: BookingsLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_PROFILE", "aws")
    monkeypatch.setenv("PIPELINE_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PIPELINE_AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "not-used")
    code, out, _ = command("doctor")
    assert code == 1
    assert "FAIL s3:ListBucket on data buckets: Failed trying s3:ListBucket on arn:aws:s3:::customer-booking-" in out
    assert "FAIL Snowflake: Snowflake is not configured: PIPELINE_SNOWFLAKE_ACCOUNT" in out
    assert "-    sqs:ReceiveMessage on queues: not tried: PIPELINE_QUEUES is not set: no queue, zones are listed" in out


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PIPELINE_PROFILE", "azure"), ("PIPELINE_HOME", "/proc/nope"), ("PIPELINE_REJECT_SHARE", "7")],
)
def test_a_wrong_setting_stops_before_anything_starts(variable: str, value: str, tmp_path: Path) -> None:
    done = process(tmp_path, "run", "bookings", env=environment(tmp_path / "home", **{variable: value}))
    assert done.returncode == 2
    assert variable in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_malformed_contract_stops_before_anything_starts(
    lake: BookingsLake, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> object:
        malformed = lake.home / path.name
        malformed.write_text("apiVersion: v3.1.0\nschema: [\n")
        return load_contract(malformed)

    monkeypatch.setattr(declared_files, "load_contract", broken)
    monkeypatch.setattr(pipelines, "pipelines", lambda _: {"bookings": resolve.resolve(replace(BOOKINGS))})
    code, _, err = command("run", "bookings")
    assert code == 2
    assert "customers.yaml, line" in err


def test_an_empty_and_a_header_only_file_load_zero_rows(lake: BookingsLake, command) -> None:
    lake.write("booking_details_empty.csv", "")
    lake.write("booking_details_header.csv", BOOKING_HEADER)
    code, out, _ = command("run", "bookings", "--json")
    assert code == 0
    assert json.loads(out)["objects"]["loaded"] == 2


def test_query_json_refuses_what_json_cannot_hold(command) -> None:
    assert command("query", "SELECT 1 AS A, 2 AS A", "--format", "json")[0] == 2
    code, out, _ = command("query", "SELECT 'NaN'::FLOAT AS X", "--format", "json")
    assert (code, json.loads(out)) == (0, [{"X": "nan"}])


def test_replay_of_an_unknown_id_is_a_mistake_and_a_replay_says_what_it_released(loaded: BookingsLake, command) -> None:
    code, _, err = command("quarantine", "replay", "bookings", "--id", "nope")
    assert code == 2
    assert "No quarantined record has the id 'nope'" in err
    assert "0 records were released" in command("quarantine", "replay", "bookings")[1]


@pytest.mark.slow
def test_ctrl_c_during_a_run_says_so_and_exits_with_130(lake: BookingsLake, tmp_path: Path) -> None:
    import signal
    import time

    lake.customers("", customer(1))
    lake.bookings("", *(booking(n, 1) for n in range(300_000)))
    with open(tmp_path / "stderr", "wb") as stderr:
        running = start(lake.home, "run", "bookings", stderr=stderr)
    deadline = time.monotonic() + 60
    while not any((lake.home / "scratch" / "bookings").glob("*/*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    running.wait(timeout=60)
    err = (tmp_path / "stderr").read_text()
    assert running.returncode == 130, err
    assert "Stopped. The state is intact" in err
    assert "Traceback" not in err
