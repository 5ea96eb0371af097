"""Objects that a source examines before they are read, and objects that lie beside others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC
from functools import cache
from pathlib import Path

import pytest

from pipeline_assets.batch.context import BatchContext
from pipeline_assets.errors import ConfigurationError, LakeError, RejectedObjectError
from pipeline_assets.lake import LandedObject
from pipeline_assets.pipeline import Archive, Examined, LandedFiles, Pipeline, Table
from pipeline_assets.pipeline.resolve import derive
from pipeline_assets_tests.support.small_pipelines import SmallLake, contract, lake_of, later

WAYS: dict[str, Callable[[LandedObject], object]] = {}


def examine(_: BatchContext, objects: Sequence[LandedObject]) -> Examined:
    """What a test says for each name: a new object, an error, or None to wait."""
    ways = [(o, WAYS.get(o.key.rpartition("/")[2], lambda landed: landed)(o)) for o in objects]
    return Examined(
        [way for _, way in ways if isinstance(way, LandedObject)],
        [(landed, way) for landed, way in ways if isinstance(way, Exception)],
    )


def shop(**source: object) -> Pipeline:
    files = LandedFiles("goods", "in/*.csv", examine=examine, beside="in/*.json|in/*.notes.csv")
    return Pipeline(
        "shop",
        "shop-bucket",
        sources=[replace(files, **source)],  # type: ignore[arg-type]
        tables=[Table("goods")],
        contracts={"goods": contract("goods", "ID integer key", "PRICE number")},
    )


@cache
def kind() -> type[SmallLake]:
    return lake_of(derive(shop()))


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    WAYS.clear()
    return kind().with_tables(tmp_path / "home")


def land(lake: SmallLake, name: str, price: int, at: float, key: int = 1) -> None:
    lake.csv(name, {"ID": key, "PRICE": price}, at=at)


def prices(lake: SmallLake) -> list[tuple[str, str]]:
    return [(key, price.partition(".")[0]) for key, price in lake.cells()["goods"]]


def test_the_time_that_a_source_finds_orders_versions(lake: SmallLake) -> None:
    WAYS["old.csv"] = lambda landed: replace(landed, modified=later(1).astimezone(UTC))
    land(lake, "new", 2, at=5)
    land(lake, "old", 1, at=9)
    lake.run()
    assert prices(lake) == [("1", "2")]
    land(lake, "old", 3, at=10)
    lake.run()
    assert prices(lake) == [("1", "2")]


def test_an_object_that_waits_is_not_counted_and_is_loaded_when_it_is_accepted(lake: SmallLake) -> None:
    WAYS["early.csv"] = lambda _: None
    land(lake, "early", 1, at=1)
    report = lake.run()
    assert (report.batch_id, report.new, report.known, report.notes) == (None, 0, 0, [])
    assert lake.rows("SELECT * FROM OPS.FILE_LEDGER") == []
    land(lake, "late", 2, at=2, key=2)
    report = lake.run()
    assert (report.new, report.loaded, prices(lake)) == (1, 1, [("2", "2")])
    WAYS.clear()
    report = lake.run()
    assert (report.new, report.loaded, prices(lake)) == (1, 1, [("1", "1"), ("2", "2")])


def test_a_rejected_object_keeps_its_code_and_remedy_and_is_read_after_a_replay(lake: SmallLake) -> None:
    reason = "The extract has 3 rows, not 2."
    WAYS["bad.csv"] = lambda _: RejectedObjectError(reason, code="manifest_mismatch", remedy="Extract it again.")
    land(lake, "bad", 1, at=1)
    land(lake, "good", 2, at=2, key=2)
    report = lake.run()
    assert (report.new, report.loaded, report.rejected, prices(lake)) == (2, 1, 1, [("2", "2")])
    assert lake.rows("SELECT REASON_CODE, REASON FROM OPS.QUARANTINE") == [
        ("manifest_mismatch", f"{reason} Extract it again.")
    ]
    assert lake.run().new == 0
    WAYS.clear()
    report = lake.run(replay=True)
    assert (report.loaded, report.rejected, prices(lake)) == (1, 0, [("1", "1"), ("2", "2")])


def test_any_other_error_of_a_source_fails_the_batch(lake: SmallLake) -> None:
    WAYS["bad.csv"] = lambda _: LakeError("The network is down.")
    land(lake, "bad", 1, at=1)
    with pytest.raises(LakeError):
        lake.run()
    assert lake.rows("SELECT * FROM OPS.FILE_LEDGER") == []


def test_objects_beside_others_are_neither_read_nor_reported(lake: SmallLake) -> None:
    land(lake, "one", 1, at=1)
    lake.write("one.json", "{}")
    lake.write("one.notes.csv", "ID,PRICE\n7,7\n")
    report = lake.run()
    assert (report.new, report.notes, prices(lake)) == (1, [], [("1", "1")])
    lake.write("one.txt", "?")
    assert [note for note in lake.run().notes if "match no pattern" in note]


def test_mistakes_of_examined_sources_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"the objects beside those of goods lie in other/, not in in/"):
        derive(shop(beside="other/*.json"))
    with pytest.raises(ConfigurationError, match=r"'in/\[a\]\*' is not a pattern|'\[a\]\*"):
        derive(shop(beside="in/[a]*"))
    with pytest.raises(ConfigurationError, match=r"objects of goods are examined, and moved or archives"):
        derive(shop(archive=Archive("shop-bucket", "unpacked/", lambda _: None)))  # type: ignore[arg-type,return-value]
