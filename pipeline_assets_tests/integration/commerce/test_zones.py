"""Where the bytes of an object are: in landing until its rows are committed, then in one zone, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline_assets.batch import arrive
from pipeline_assets.batch.report import Request
from pipeline_assets.batch.run import run_batch
from pipeline_assets.commerce.pipeline import COMMERCE
from pipeline_assets.engine import RejectPolicy
from pipeline_assets.errors import EngineError, LakeError
from pipeline_assets.lake import LocalLake
from pipeline_assets_tests.support.commerce_lake import CommerceLake, customer, order
from pipeline_assets_tests.support.foreign_objects import FOREIGN, make_foreign
from pipeline_assets_tests.support.pipeline_lake import changed_pipeline

AT = datetime(2024, 3, 1, 10, 15, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
NO_GZIP = b"\x1f\x8bno gzip"
LEDGER = "SELECT REGEXP_SUBSTR(URI, '[^/]+$'), STATUS, CURRENT_URI FROM OPS.FILE_LEDGER WHERE REPLACED_AT IS NULL"


def zones(lake: CommerceLake) -> dict[str, list[str]]:
    """The names of the objects in each zone of the orders."""
    found: dict[str, list[str]] = {}
    for key in lake.landed_keys():
        stream, zone, *_, name = key.split("/")
        if stream == "orders":
            found.setdefault(zone, []).append(name.rpartition("-")[2])
    return {zone: sorted(names) for zone, names in found.items()}


def orders(lake: CommerceLake) -> list[tuple]:
    return [row[:3] for row in lake.tables()["ORDERS"]]


class DisturbedLake(LocalLake):
    """A lake in which something happens right before one of its methods runs for the first time."""

    def __init__(self, root: Path, method: str, disturb: Callable[[], object]) -> None:
        super().__init__(root)
        self.waiting, real = [disturb], getattr(super(), method)

        def disturbed(*arguments: object) -> object:
            if self.waiting:
                self.waiting.pop()()
            return real(*arguments)

        setattr(self, method, disturbed)


def disturbed(lake: CommerceLake, method: str, disturb: Callable[[], object]) -> CommerceLake:
    return lake.with_platform(lake=DisturbedLake(lake.home / "lake", method, disturb))


# --- in landing ----------------------------------------------------------------------------------------------


def test_an_object_that_is_overwritten_while_it_is_processed_stays_and_is_a_new_version(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(1, price="1.00"))
    overwritten = disturbed(lake, "move_all", lambda: lake.deliver("orders", AT, order(1, price="2.00")))

    assert overwritten.run().loaded == 1
    assert zones(lake) == {"landing": ["a"], "processed": ["a"]}

    assert lake.run().loaded == 1
    assert [str(row[3]) for row in lake.tables()["ORDERS"]] == ["2.00"]
    assert zones(lake) == {"processed": ["a", "a"]}


def test_an_object_that_changes_between_listing_and_copying_is_taken_by_the_next_run(lake: CommerceLake) -> None:
    path = lake.deliver("orders", AT, order(1))
    lake.deliver("orders", AT, order(2), name="b")
    changing = disturbed(lake, "fetch", lambda: lake.deliver("orders", AT, order(1, price="2.00")))

    report = changing.run()

    assert (report.new, report.loaded, len(report.requeued)) == (2, 1, 1)
    assert path.name in report.requeued[0]
    assert zones(lake) == {"landing": ["a"], "processed": ["b"]}
    assert lake.run().loaded == 1
    assert zones(lake) == {"processed": ["a", "b"]}


@pytest.mark.parametrize("change", ["overwritten", "deleted"])
def test_an_object_that_changes_while_it_is_copied_is_requeued(
    lake: CommerceLake, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = lake.deliver("orders", AT, order(1))
    lake.deliver("customers", AT, customer(1))
    copy = shutil.copyfile

    def copyfile(source: Path, target: Path) -> Path:
        if Path(source) == path:
            path.unlink()
            if change == "overwritten":
                path.write_bytes(b"half of a recor")
        return copy(source, target)

    monkeypatch.setattr(arrive.shutil, "copyfile", copyfile)
    report = lake.run()
    monkeypatch.undo()

    assert (report.loaded, len(report.requeued)) == (1, 1)
    assert orders(lake) == []
    assert zones(lake) == ({"landing": ["a"]} if change == "overwritten" else {})
    assert not list((lake.landing_folder / "orders").glob("processing"))


def test_a_copy_that_vanishes_before_it_is_read_is_requeued(lake: CommerceLake) -> None:
    """Not read again and again: the batch goes on without the object, which is still in landing."""
    lake.deliver("orders", AT, order(1))
    lake.deliver("customers", AT, customer(1))

    def remove() -> None:
        shutil.rmtree(lake.landing_folder / "orders" / "processing")

    report = disturbed(lake, "fetch_all", remove).run()

    assert (report.loaded, len(report.requeued)) == (1, 1)
    assert zones(lake) == {"landing": ["a"]}
    assert lake.run().loaded == 1


def test_a_copy_that_is_not_what_was_written_ends_the_run_and_the_object_stays_in_landing(lake: CommerceLake) -> None:
    path = lake.deliver("orders", AT, order(1))

    class Truncating(LocalLake):
        """A store that loses the end of an object."""

        def publish(self, source: Path, bucket: str, key: str) -> str:
            if "/processing/" in key:
                os.truncate(source, 1)
            return super().publish(source, bucket, key)

    with pytest.raises(LakeError, match=r"is not the copy of .*landing.* that was written"):
        lake.with_platform(lake=Truncating(lake.home / "lake")).run()
    assert path.exists()
    assert lake.run().loaded == 1


def test_an_object_of_a_failed_batch_stays_in_landing(lake: CommerceLake) -> None:
    path = lake.deliver("orders", AT, order(1))

    def fail() -> None:
        raise RuntimeError("the machine stops")

    with pytest.raises(RuntimeError):
        disturbed(lake, "fetch_all", fail).run()
    assert path.exists()
    assert lake.run().loaded == 1
    assert zones(lake) == {"processed": ["a"]}


# --- delivered again -----------------------------------------------------------------------------------------


def test_known_bytes_that_are_delivered_again_leave_landing_and_are_in_one_zone(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(1), order(2, price="x"))
    lake.write(lake.key("orders", AT, "bad"), NO_GZIP, AT)
    lake.run()
    before, places = lake.tables(), lake.zones()

    for _ in range(2):
        lake.deliver("orders", AT, order(1), order(2, price="x"))
        lake.write(lake.key("orders", AT, "bad"), NO_GZIP, AT)
        report = lake.run()

        assert (report.new, report.known, report.loaded, report.rejected) == (0, 2, 0, 0)
        assert lake.tables() == before
        assert lake.zones() == places


def test_other_bytes_under_a_known_key_are_a_new_version_and_so_are_the_old_ones_after_them(
    lake: CommerceLake,
) -> None:
    """A state that returns is news: the bytes that lie at a key now win."""
    for number, price in enumerate(("1.00", "2.00", "1.00"), 1):
        lake.deliver("orders", AT, order(1, price=price))
        assert lake.run().loaded == 1
        assert [str(row[3]) for row in lake.tables()["ORDERS"]] == [price]
        assert zones(lake) == {"processed": ["a"] * number}


def test_the_same_bytes_under_another_key_are_another_object(lake: CommerceLake) -> None:
    for names in ("a", "ab"):  # the second time one of them is known
        for name in names:
            lake.deliver("orders", AT, order(1), name=name)
        assert lake.run().loaded == 1
    assert len(lake.tables()["ORDERS_RAW"]) == 2
    assert zones(lake) == {"processed": ["a", "b"]}


def test_a_second_delivery_restores_the_copy_that_somebody_removed(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(1))
    lake.run()
    before = lake.zones()
    shutil.rmtree(lake.landing_folder / "orders" / "processed")
    lake.deliver("orders", AT, order(1))

    assert lake.run().loaded == 0
    assert lake.zones() == before
    assert lake.run(reprocess=True).loaded == 1


# --- processed again -----------------------------------------------------------------------------------------


def test_objects_that_are_processed_again_stay_where_they_are(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(1), order(2, price="x"))
    lake.run()
    before, places = lake.tables(), lake.landed_paths()
    report = lake.run(reprocess=True)

    assert (report.new, report.loaded, report.rows["read"]) == (1, 1, 2)
    assert lake.tables() == before
    assert lake.landed_paths() == places


def test_an_object_that_somebody_removed_is_left_out_when_all_are_processed_again(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(1))
    lake.deliver("orders", AT, order(2), name="b")
    lake.run()
    before = lake.tables()
    next(path for path in lake.landed_paths() if path.name.endswith("-b")).unlink()

    assert lake.run(reprocess=True).loaded == 1
    assert lake.tables() == before


def test_an_object_that_vanishes_while_all_are_processed_again_is_left_out(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(1))
    lake.deliver("orders", AT, order(2), name="b")
    lake.run()
    before = lake.tables()
    processed = next(path for path in lake.landed_paths() if path.name.endswith("-b"))

    report = disturbed(lake, "fetch_all", processed.unlink).run(reprocess=True)

    assert (report.loaded, len(report.requeued)) == (1, 1)
    assert lake.tables() == before


@pytest.mark.parametrize("request_", [{"reprocess": True}, {"days": ("2024-03-01", "2024-03-01")}], ids=str)
def test_an_object_is_processed_again_though_it_was_delivered_again_as_well(lake: CommerceLake, request_: dict) -> None:
    lake.deliver("orders", AT, order(1))
    lake.run()
    lake.deliver("orders", AT, order(1))

    report = lake.run(**request_)

    assert (report.loaded, report.rows["read"]) == (1, 1)
    assert zones(lake) == {"processed": ["a"]}
    ((batch,),) = lake.rows("SELECT BATCH_ID FROM COMMERCE.ORDERS_RAW")
    assert batch == report.batch_id


def test_a_rejected_object_that_passes_by_now_goes_to_processed_and_back(lake: CommerceLake) -> None:
    """Whole objects change their zone; the reason beside them goes with the rejection."""
    lake.deliver("orders", AT, order(1), *[order(n, price="x") for n in range(2, 32)])
    assert lake.run().rejected == 1
    assert zones(lake) == {"rejected": ["a", "a.reason.json"]}

    laxer = lake.with_platform(policy=RejectPolicy(share=1.0))
    assert laxer.run(reprocess=True).loaded == 1
    assert zones(lake) == {"processed": ["a"]}
    assert [key for key, *_ in orders(lake)] == ["1"]
    assert lake.run().known == 0

    assert lake.run(reprocess=True).rejected == 1
    assert zones(lake) == {"rejected": ["a", "a.reason.json"]}


def test_a_replay_takes_rejected_objects_again_and_no_others(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(1), *[order(n, price="x") for n in range(2, 32)])
    lake.deliver("orders", AT, order(40), name="b")
    lake.run()
    laxer = lake.with_platform(policy=RejectPolicy(share=1.0))

    report = laxer.run(replay=True)

    assert (report.new, report.loaded, report.rejected) == (1, 1, 0)
    assert zones(lake) == {"processed": ["a", "b"]}
    assert lake.rows(
        "SELECT COUNT(*) FROM OPS.QUARANTINE WHERE LINE_NUMBER IS NULL AND REPLAYED_AT IS NULL AND CLOSED_AT IS NULL"
    ) == [(0,)]


def test_a_record_is_replayed_though_its_object_was_delivered_again_as_well(lake: CommerceLake, tmp_path: Path) -> None:
    """The second delivery is nothing new, so it decides about no record."""
    lake.deliver("orders", AT, order(1), order(2, status="X"))
    lake.run()
    lake.deliver("orders", AT, order(1), order(2, status="X"))
    laxer = changed_pipeline(COMMERCE, tmp_path / "laxer", "orders", lambda text: text.replace("'P']", "'P', 'X']"))

    report = run_batch(lake.platform, laxer, "test", Request(replay=True))

    assert (report.loaded, report.released) == (0, 1)
    assert orders(lake) == [("1", "1", "F"), ("2", "1", "X")]
    assert zones(lake) == {"processed": ["a"]}


# --- rejected ------------------------------------------------------------------------------------------------


def test_a_rejected_object_goes_to_rejected_with_its_reason(lake: CommerceLake) -> None:
    path = lake.write(lake.key("orders", AT, "bad"), NO_GZIP, AT)
    lake.deliver("orders", AT, order(1))
    report = lake.run()

    assert (report.loaded, report.rejected) == (1, 1)
    assert zones(lake) == {"processed": ["a"], "rejected": ["bad", "bad.reason.json"]}
    rejected, reason = (p for p in lake.landed_paths() if "/rejected/" in str(p))
    assert rejected.read_bytes() == NO_GZIP
    assert report.batch_id in str(rejected)
    said = json.loads(reason.read_text(encoding="utf-8"))
    assert said["object"].endswith(f"landing/2024/03/01/10/{path.name}")
    assert (said["code"], "Deliver the file" in said["reason"]) == ("unreadable_object", True)
    assert {uri.rpartition("/")[2] for _, _, uri in lake.rows(LEDGER)} == {p.name for p in lake.landed_paths()[:2]}


def test_an_object_with_the_longest_name_is_rejected_like_any_other(lake: CommerceLake) -> None:
    """Its reason does not fit beside it under its whole name, which must not stop this run or a later one."""
    lake.write(f"orders/landing/2024/03/01/10/{'n' * 250}", NO_GZIP, AT)
    lake.deliver("orders", AT, order(1))
    assert lake.run().rejected == 1
    assert len(zones(lake)["rejected"]) == 2
    assert lake.run().new == 0


def test_a_corrected_delivery_of_a_rejected_object_closes_the_rejection(lake: CommerceLake) -> None:
    lake.write(lake.key("orders", AT), NO_GZIP, AT)
    lake.run()
    lake.deliver("orders", AT, order(1))
    assert lake.run().loaded == 1
    assert zones(lake) == {"processed": ["a"], "rejected": ["a", "a.reason.json"]}
    assert lake.rows("SELECT COUNT(*) FROM OPS.QUARANTINE WHERE REPLAYED_AT IS NULL AND CLOSED_AT IS NULL") == [(0,)]


def test_foreign_objects_are_reported_once_and_everything_else_is_moved(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(1))
    folder = lake.landing_folder / "orders" / "landing" / "2024/03/01/10"
    for kind in FOREIGN:
        make_foreign(folder, kind)

    report = lake.run()
    assert (report.loaded, report.rejected) == (1, len(FOREIGN))
    for _ in range(2):
        report = lake.run()
        assert (report.new, report.known, report.rejected) == (0, len(FOREIGN), 0)
    assert len((lake.home / "alerts.jsonl").read_text().splitlines()) == len(FOREIGN)
    assert sorted(os.listdir(os.fsencode(folder))) == sorted(name.replace(b"{}", b"") for name, _ in FOREIGN.values())


# --- odd keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "by-hand.csv",
        "2024/13/45/99/pipeline-orders-1-2024-13-45-99-00-00-a",
        "9999/12/31/23/pipeline-orders-1-9999-12-31-23-59-59-a",
        "0000/00/00/00/a",
        "2024/03/01/a b%20c+\u00e9'\"",
        "a/2024/03/01/10/deep",
    ],
)
def test_an_object_with_an_odd_key_loads_and_is_moved_like_any_other(lake: CommerceLake, key: str) -> None:
    lake.write(f"orders/landing/{key}", order(1), AT)
    assert lake.run().loaded == 1
    assert orders(lake) == [("1", "1", "F")]
    assert list(lake.zones()) == [f"orders/processed/{key}"]
    assert lake.run(reprocess=True).loaded == 1


def test_an_empty_object_is_loaded_and_moved(lake: CommerceLake) -> None:
    lake.write(lake.key("orders", AT), b"", AT)
    report = lake.run()
    assert (report.loaded, report.rows["read"]) == (1, 0)
    assert zones(lake) == {"processed": ["a"]}
    assert lake.run().new == 0


def test_hidden_objects_stay_in_landing(lake: CommerceLake) -> None:
    """They are half written, or of another tool."""
    for key in (".half", "2024/03/01/10/.half", ".tool/state"):
        lake.write(f"orders/landing/{key}", order(1), AT)
    lake.deliver("orders", AT, order(2))
    assert lake.run().loaded == 1
    assert sorted(zones(lake)) == ["landing", "processed"]
    assert len(zones(lake)["landing"]) == 3


def test_empty_folders_go_and_landing_stays(lake: CommerceLake) -> None:
    for number in range(3):
        lake.deliver("orders", AT + number * 25 * HOUR, order(number))
        lake.run()
        folders = sorted(p.relative_to(lake.landing_folder).as_posix() for p in lake.landing_folder.glob("*/*"))
        assert folders == ["orders/landing", "orders/processed"]
        assert list((lake.landing_folder / "orders" / "landing").iterdir()) == []


# --- days ----------------------------------------------------------------------------------------------------


def test_a_run_of_some_days_takes_what_landed_on_them_new_or_known(lake: CommerceLake) -> None:
    for day in range(4):
        lake.deliver("orders", AT + day * 24 * HOUR, order(day), name=f"d{day}")
        if day == 1:
            lake.run()  # days 0 and 1 are known
    report = lake.run(days=("2024-03-02", "2024-03-03"))

    assert (report.new, report.loaded) == (2, 2)
    assert [key for key, *_ in orders(lake)] == ["0", "1", "2"]
    assert zones(lake) == {"landing": ["d3"], "processed": ["d0", "d1", "d2"]}
    batches = dict(lake.rows("SELECT O_ORDERKEY, BATCH_ID FROM COMMERCE.ORDERS_RAW"))
    assert {key: batch == report.batch_id for key, batch in batches.items()} == {"0": False, "1": True, "2": True}
    assert lake.run().loaded == 1


def test_the_day_of_an_object_is_that_in_its_key(lake: CommerceLake) -> None:
    lake.write(lake.key("orders", AT), order(1), AT + 72 * HOUR)
    lake.write("orders/landing/by-hand.csv", order(2), AT)
    assert lake.run(days=("2024-03-01", "2024-03-01")).loaded == 2


def test_a_processed_object_that_somebody_removed_is_named_by_the_run_that_would_need_it(lake: CommerceLake) -> None:
    lake.deliver("orders", AT, order(10))
    lake.deliver("orders", AT + HOUR, order(11))
    lake.run()
    (removed, *_) = [path for path in lake.landed_paths() if "/processed/" in path.as_posix()]
    removed.unlink()
    (note,) = lake.run(reprocess=True).notes
    assert "no longer in their zone" in note
    assert removed.name in note
    assert not lake.run().notes


def test_a_full_disk_names_the_object_and_the_remedy(lake: CommerceLake, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))

    lake.deliver("orders", AT, order(10))
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(EngineError, match=r"The disk is full: lake://.*/orders/landing/.*Free disk space"):
        lake.run()
    monkeypatch.undo()
    assert lake.run().rows["loaded"] == 1
