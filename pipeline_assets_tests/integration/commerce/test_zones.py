"""Where the bytes of an object are: in landing until its rows are committed, then in one zone, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.batch import arrive
from pipeline_assets.batch.report import BatchReport, Request
from pipeline_assets.batch.run import run_batch
from pipeline_assets.commerce.pipeline import COMMERCE
from pipeline_assets.engine import RejectPolicy
from pipeline_assets.errors import EngineError, LakeError
from pipeline_assets.lake import LandedObject, LocalLake
from pipeline_assets_tests.support.commerce_lake import CommerceLake, order
from pipeline_assets_tests.support.foreign_objects import FOREIGN, make_foreign
from pipeline_assets_tests.support.pipeline_lake import changed_pipeline, copy_home

AT = datetime(2024, 3, 1, 10, 15, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
NO_GZIP = b"\x1f\x8bno gzip"
LONGEST = "n" * 250
HIDDEN = (".half", "2024/03/01/10/.half", ".tool/state")
ODD_KEYS = (
    "by-hand.csv",
    "2024/13/45/99/pipeline-orders-1-2024-13-45-99-00-00-odd",
    "9999/12/31/23/pipeline-orders-1-9999-12-31-23-59-59-odd",
    "0000/00/00/00/odd",
    "2024/03/01/a b%20c+\u00e9'\"",
    "odd/2024/03/01/10/deep",
)
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


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> tuple[CommerceLake, BatchReport]:
    """A home after one batch over every kind of object; tests read it or get copies."""
    lake = CommerceLake.with_tables(tmp_path_factory.mktemp("landed") / "home")
    lake.deliver("orders", AT, order(1), order(2, status="X"))
    for number, name in enumerate(("b", "c", "gone", "vanishing"), 3):
        lake.deliver("orders", AT, order(number), name=name)
    lake.deliver("orders", AT, order(8), *[order(n, price="x") for n in range(900, 930)], name="partly")
    for name in ("bad", "corrected"):
        lake.write(lake.key("orders", AT, name), NO_GZIP, AT)
    lake.write(lake.key("orders", AT, "empty"), b"", AT)
    lake.write(f"orders/landing/2024/03/01/10/{LONGEST}", NO_GZIP, AT)
    for key in HIDDEN:
        lake.write(f"orders/landing/{key}", order(99), AT)
    for number, key in enumerate(ODD_KEYS, 10):
        lake.write(f"orders/landing/{key}", order(number), AT)
    return lake, lake.run()


@pytest.fixture
def processed(landed: tuple[CommerceLake, BatchReport], tmp_path: Path) -> CommerceLake:
    return CommerceLake.at(copy_home(landed[0].home, tmp_path / "processed", CommerceLake.landing))


def places(lake: CommerceLake) -> dict[str, list[str]]:
    """The zones of the orders in which the bytes of each name are; a name is what follows the last hyphen."""
    found: dict[str, list[str]] = {}
    for zone, names in zones(lake).items():
        for name in names:
            found.setdefault(name, []).append(zone)
    return found


def open_rejections(lake: CommerceLake, name: str) -> int:
    ((found,),) = lake.rows(
        f"SELECT COUNT(*) FROM OPS.QUARANTINE WHERE SOURCE_URI LIKE '%-{name}' AND LINE_NUMBER IS NULL "
        "AND REPLAYED_AT IS NULL AND CLOSED_AT IS NULL"
    )
    return int(found)


def price(lake: CommerceLake, key: str) -> str:
    return next(str(row[3]) for row in lake.tables()["ORDERS"] if row[0] == key)


# --- one batch -----------------------------------------------------------------------------------------------


def test_every_object_of_a_batch_is_counted_once(landed: tuple[CommerceLake, BatchReport]) -> None:
    _, report = landed
    loaded, rejected = 6 + len(ODD_KEYS), 4
    assert (report.new, report.loaded, report.rejected) == (loaded + rejected, loaded, rejected)


@pytest.mark.parametrize(("number", "key"), [*enumerate(ODD_KEYS, 10)])
def test_an_object_with_an_odd_key_loads_and_is_moved_like_any_other(
    landed: tuple[CommerceLake, BatchReport], number: int, key: str
) -> None:
    lake, _ = landed
    assert (str(number), "1", "F") in orders(lake)
    assert [found for found in lake.landed_keys() if found.endswith(key)] == [f"orders/processed/{key}"]


def test_an_empty_object_is_loaded_and_moved(landed: tuple[CommerceLake, BatchReport]) -> None:
    lake, _ = landed
    assert places(lake)["empty"] == ["processed"]
    assert lake.rows("SELECT STATUS, ROWS_READ FROM OPS.FILE_LEDGER WHERE URI LIKE '%-empty'") == [("loaded", 0)]


def test_hidden_objects_stay_in_landing(landed: tuple[CommerceLake, BatchReport]) -> None:
    """They are half written, or of another tool."""
    lake, _ = landed
    left = [key.removeprefix("orders/landing/") for key in lake.landed_keys() if key.startswith("orders/landing/")]
    assert left == sorted(HIDDEN)
    assert "99" not in [key for key, *_ in orders(lake)]


def test_a_rejected_object_goes_to_rejected_with_its_reason(landed: tuple[CommerceLake, BatchReport]) -> None:
    lake, report = landed
    rejected, reason = (p for p in lake.landed_paths() if p.name.removesuffix(".reason.json").endswith("-bad"))
    assert "/rejected/" in rejected.as_posix()
    assert rejected.read_bytes() == NO_GZIP
    assert report.batch_id in str(rejected)
    said = json.loads(reason.read_text(encoding="utf-8"))
    assert said["object"].endswith(f"landing/2024/03/01/10/{rejected.name}")
    assert (said["code"], "Deliver the file" in said["reason"]) == ("unreadable_object", True)
    bytes_in_zones = {
        path.name
        for path in lake.landed_paths()
        if {"processed", "rejected"} & set(path.parts) and path.suffix != ".json"
    }
    assert {uri.rpartition("/")[2] for _, _, uri in lake.rows(LEDGER)} == bytes_in_zones


def test_an_object_with_the_longest_name_is_rejected_like_any_other(processed: CommerceLake) -> None:
    """Its reason does not fit beside it under its whole name, which must not stop this run or a later one."""
    rejected = zones(processed)["rejected"]
    assert LONGEST in rejected
    assert len([name for name in rejected if name.endswith(".reason.json")]) == len(rejected) / 2 == 4
    report = processed.run()
    assert (report.new, report.known) == (0, 0)


# --- in landing ----------------------------------------------------------------------------------------------


def test_an_object_that_changes_while_it_is_processed_is_requeued_or_stays_and_is_a_new_version(
    lake: CommerceLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name says what happens to it, and when; what is requeued is read once and the batch goes on without it."""
    names = ("listed", "overwritten", "deleted", "removed", "committed", "quiet")
    prices = {"listed": "20.00", "overwritten": "20.00", "removed": "1.00", "committed": "2.00", "quiet": "1.00"}
    paths = {name: lake.deliver("orders", AT, order(n, price="1.00"), name=name) for n, name in enumerate(names)}

    def overwrite(name: str) -> None:
        lake.deliver("orders", AT, order(names.index(name), price=prices[name]), name=name)

    class Changing(LocalLake):
        def fetch(self, landed: LandedObject, folder: Path) -> Path:
            if "/landing/" in landed.key and landed.key.endswith("-listed"):  # between listing and copying
                overwrite("listed")
            return super().fetch(landed, folder)

        def fetch_all(self, objects: Sequence[LandedObject], folder: Path) -> list[Path]:
            for copy in (lake.landing_folder / "orders" / "processing").rglob("*-removed"):  # before it is read
                copy.unlink()
            return super().fetch_all(objects, folder)

        def move_all(self, *arguments: Any) -> None:
            if paths["committed"].exists():
                overwrite("committed")
            super().move_all(*arguments)

    copy = shutil.copyfile

    def copyfile(source: Path, target: Path) -> Path:
        if Path(source) in (paths["overwritten"], paths["deleted"]):
            paths[Path(source).name.rpartition("-")[2]].unlink()
            if Path(source) == paths["overwritten"]:
                overwrite("overwritten")
        return copy(source, target)

    monkeypatch.setattr(arrive.shutil, "copyfile", copyfile)
    report = lake.with_platform(lake=Changing(lake.home / "lake")).run()
    monkeypatch.undo()

    requeued = ("deleted", "listed", "overwritten", "removed")
    assert (report.new, report.loaded) == (6, 2)
    assert sorted(uri.rpartition("-")[2] for uri in report.requeued) == sorted(requeued)
    assert [key for key, *_ in orders(lake)] == [str(names.index(name)) for name in ("committed", "quiet")]
    assert places(lake) == {
        **{name: ["landing"] for name in ("listed", "overwritten", "removed")},
        "committed": ["landing", "processed"],
        "quiet": ["processed"],
    }
    assert not list((lake.landing_folder / "orders").glob("processing"))

    assert lake.run().loaded == 4
    assert {row[0]: str(row[3]) for row in lake.tables()["ORDERS"]} == {
        str(names.index(name)): expected for name, expected in prices.items()
    }
    assert zones(lake) == {"processed": sorted([*prices, "committed"])}


def test_an_object_of_a_failed_batch_stays_in_landing(lake: CommerceLake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that loses the end of a copy, a full disk, and a machine that stops."""
    path = lake.deliver("orders", AT, order(1))

    class Truncating(LocalLake):
        """A store that loses the end of an object."""

        def publish(self, source: Path, bucket: str, key: str) -> str:
            if "/processing/" in key:
                os.truncate(source, 1)
            return super().publish(source, bucket, key)

    class Stopping(LocalLake):
        def fetch_all(self, *_: object) -> list[Path]:
            raise RuntimeError("the machine stops")

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source), None, str(target))

    with pytest.raises(LakeError, match=r"is not the copy of .*landing.* that was written"):
        lake.with_platform(lake=Truncating(lake.home / "lake")).run()
    assert zones(lake)["landing"] == ["a"]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(EngineError, match=r"The disk is full: lake://.*/orders/landing/.*Free disk space"):
            lake.run()
    assert zones(lake)["landing"] == ["a"]
    with pytest.raises(RuntimeError, match="the machine stops"):
        lake.with_platform(lake=Stopping(lake.home / "lake")).run()
    assert path.exists()

    report = lake.run()
    assert (report.loaded, report.rows["loaded"]) == (1, 1)
    assert zones(lake) == {"processed": ["a"]}


# --- delivered again -----------------------------------------------------------------------------------------


def test_objects_that_are_delivered_again_are_known_new_versions_or_other_objects(processed: CommerceLake) -> None:
    """Known bytes leave landing and are in one zone; other bytes, also those that return, are a new version."""
    lake = processed
    assert open_rejections(lake, "corrected") == 1
    before, lay = lake.tables(), lake.zones()
    next(path for path in lake.landed_paths() if path.name.endswith("-c")).unlink()

    for again, new_price in enumerate(("2.00", "100.25")):
        lake.deliver("orders", AT, order(1), order(2, status="X"))
        lake.write(lake.key("orders", AT, "bad"), NO_GZIP, AT)
        lake.deliver("orders", AT, order(4), name="c")  # somebody removed the copy
        lake.deliver("orders", AT, order(3, price=new_price), name="b")  # other bytes, then those from before
        lake.deliver("orders", AT, order(5), name="same")  # the bytes of another key
        lake.deliver("orders", AT, order(70), name="corrected")
        report = lake.run()

        new, known = (1, 5) if again else (3, 3)
        assert (report.new, report.known, report.loaded, report.rejected) == (new, known, new, 0)
        found = places(lake)
        assert {name: found[name] for name in ("a", "bad", "c", "b", "same", "corrected")} == {
            "a": ["processed"],
            "bad": ["rejected"],
            "c": ["processed"],
            "b": ["processed"] * (again + 2),
            "same": ["processed"],
            "corrected": ["processed", "rejected"],
        }
        assert price(lake, "3") == new_price
        assert {key: content for key, content in lake.zones().items() if key in lay and not key.endswith("-b")} == {
            key: content for key, content in lay.items() if not key.endswith("-b")
        }
    tables = {name: Counter(rows) for name, rows in lake.tables().items()}
    changed = {name: tables[name] - Counter(rows) for name, rows in before.items()}
    assert {name: sorted(row[0] for row in rows) for name, rows in changed.items() if rows} == {
        "ORDERS_RAW": ["3", "3", "5", "70"],
        "ORDERS": ["70"],
    }
    assert open_rejections(lake, "corrected") == 0

    report = lake.run(reprocess=True)  # also what was restored
    assert not report.notes
    assert lake.rows("SELECT BATCH_ID FROM COMMERCE.ORDERS_RAW WHERE O_ORDERKEY = '4'") == [(report.batch_id,)]


# --- processed again -----------------------------------------------------------------------------------------


def test_all_objects_are_processed_again_where_they_are_whatever_happened_to_some(processed: CommerceLake) -> None:
    """One was delivered again as well, one was removed before, one vanishes meanwhile."""
    lake = processed
    before, lay = lake.tables(), lake.landed_paths()
    lost = {
        name: next(path for path in lay if path.name.endswith(f"-{name}") and "processed" in path.parts)
        for name in ("gone", "vanishing")
    }
    lost["gone"].unlink()
    lake.deliver("orders", AT, order(1), order(2, status="X"))

    report = disturbed(lake, "fetch_all", lost["vanishing"].unlink).run(reprocess=True)

    (note,) = report.notes
    assert "no longer in their zone" in note
    assert lost["gone"].name in note
    assert [uri.rpartition("/")[2] for uri in report.requeued] == [lost["vanishing"].name]
    assert (report.loaded, report.rejected, report.rows["read"]) == (4 + len(ODD_KEYS), 4, 35 + len(ODD_KEYS))
    assert lake.tables() == before
    assert [path for path in lake.landed_paths() if "rejected" not in path.parts] == [
        path for path in lay if "rejected" not in path.parts and path not in lost.values()
    ]
    batches = dict(lake.rows("SELECT O_ORDERKEY, BATCH_ID FROM COMMERCE.ORDERS_RAW"))
    again = {key for key, batch in batches.items() if batch == report.batch_id}
    assert batches.keys() - again == {"5", "6"}, "the rows of those that are lost stay"

    lake.deliver("orders", AT, order(1), order(2, status="X"))
    report = lake.run(days=("2024-03-01", "2024-03-01"))
    assert lake.rows("SELECT BATCH_ID FROM COMMERCE.ORDERS_RAW WHERE O_ORDERKEY = '1'") == [(report.batch_id,)]
    assert places(lake)["a"] == ["processed"]
    assert not lake.run().notes


def test_a_rejected_object_that_passes_by_now_goes_to_processed_and_back(processed: CommerceLake) -> None:
    """Whole objects change their zone; the reason beside them goes with the rejection. A replay takes no others."""
    lake, laxer = processed, processed.with_platform(policy=RejectPolicy(share=1.0))
    still = processed.zones()["orders/rejected/" + lake.key("orders", AT, "bad").partition("landing/")[2]]
    assert still == NO_GZIP
    loaded = len(orders(lake))

    report = laxer.run(replay=True)
    assert (report.new, report.loaded, report.rejected) == (4, 1, 3)
    assert places(lake)["partly"] == ["processed"]
    assert "partly.reason.json" not in places(lake)
    assert ("8", "1", "F") in orders(lake)
    assert len(orders(lake)) == loaded + 1
    assert open_rejections(lake, "partly") == 0
    assert lake.run().known == 0

    for changed, zone in ((lake, "rejected"), (laxer, "processed")):
        changed.run(reprocess=True)
        found = places(lake)
        assert (found["partly"], "partly.reason.json" in found) == ([zone], zone == "rejected")
        assert open_rejections(lake, "partly") == int(zone == "rejected")


def test_a_record_is_replayed_though_its_object_was_delivered_again_as_well(
    processed: CommerceLake, tmp_path: Path
) -> None:
    """The second delivery is nothing new, so it decides about no record."""
    lake, before = processed, orders(processed)
    lake.deliver("orders", AT, order(1), order(2, status="X"))
    laxer = changed_pipeline(COMMERCE, tmp_path / "laxer", "orders", lambda text: text.replace("'P']", "'P', 'X']"))

    report = run_batch(lake.platform, laxer, "test", Request(replay=True))

    assert (report.loaded, report.released) == (0, 1)
    assert orders(lake) == sorted([*before, ("2", "1", "X")])
    assert places(lake)["a"] == ["processed"]


# --- foreign objects and folders -----------------------------------------------------------------------------


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


def test_empty_folders_go_and_landing_stays(lake: CommerceLake) -> None:
    for number in range(2):
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
    lake.write(lake.key("orders", AT + 24 * HOUR, "key"), order(8), AT + 96 * HOUR)  # the day is that in its key
    lake.write("orders/landing/byhand.csv", order(9), AT + 24 * HOUR)  # or its own, if its key has none
    report = lake.run(days=("2024-03-02", "2024-03-03"))

    assert (report.new, report.loaded) == (4, 4)
    assert [key for key, *_ in orders(lake)] == ["0", "1", "2", "8", "9"]
    assert zones(lake) == {"landing": ["d3"], "processed": ["byhand.csv", "d0", "d1", "d2", "key"]}
    batches = dict(lake.rows("SELECT O_ORDERKEY, BATCH_ID FROM COMMERCE.ORDERS_RAW"))
    assert {key: batch == report.batch_id for key, batch in batches.items()} == {
        "0": False,
        **dict.fromkeys(("1", "2", "8", "9"), True),
    }
    assert lake.run().loaded == 1
