"""The order of one batch: steps of a pipeline, watermarks, what a killed run leaves, and what pipelines share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

from pipeline_assets.batch.context import BatchContext
from pipeline_assets.batch.report import Request
from pipeline_assets.errors import ConfigurationError, LakeError
from pipeline_assets.lake import Lake, LandedObject
from pipeline_assets.pipeline import CsvExport, LandedFiles, Mart, Pipeline, Step, Table
from pipeline_assets.warehouse import ledger
from pipeline_assets_tests.support.small_pipelines import START, SmallLake, lake_of, pipeline_of, temporary

CONTRACTS = {"goods": ("csv", ["GOODS_ID text key", "PRICE number"])}
KEYED = {
    "ledger": (
        "csv",
        ["ENTRY integer key", "DAY date key", "AMOUNT number", "ACCOUNT integer -> quarantine.ACCOUNT"],
    ),
    "quarantine": ("csv", ["ACCOUNT integer key", "OPENED date"]),
    "released": ("csv", ["DAY date key", "NOTE text"]),
    "booked": ("table", ["ENTRY integer key", "DAY date key", "AMOUNT number", "ACCOUNT integer", "OPENED date"]),
    "by_day": ("table", ["DAY date", "AMOUNT number"]),
}


class Stepped(SmallLake):
    """A pipeline with a step in each phase; what they do is put into `DOES` by each test."""


DOES: dict[str, Callable[[BatchContext], None]] = {}


def step(phase: str) -> Callable[[BatchContext], None]:
    def run(context: BatchContext) -> None:
        DOES.get(phase, lambda _: None)(context)

    return run


def stepped_value(
    folder: Path, name: str = "shop", phases: tuple[str, ...] = ("promote", "arrive", "extract")
) -> Pipeline:
    return pipeline_of(
        folder,
        CONTRACTS,
        {},
        name=name,
        sources=[LandedFiles("goods", f"in/{name}/goods*.csv")],
        tables=[Table("goods")],
        exports=[
            CsvExport("one", of="goods", key=f"out/{name}/{{batch_id}}_{{started_at}}_one.csv"),
            CsvExport("two", of="goods", key=f"out/{name}/{{batch_id}}_{{started_at}}_two.csv", only_changed=False),
        ],
        steps=[Step(phase, step(phase)) for phase in phases],  # type: ignore[arg-type]
    )


@cache
def kind(name: str = "shop") -> type[Stepped]:
    return lake_of(stepped_value(temporary(), name), Stepped)  # type: ignore[return-value]


@pytest.fixture
def lake(tmp_path: Path) -> Stepped:
    DOES.clear()
    return kind().with_tables(tmp_path / "home")


def land(lake: SmallLake, key: str = "G1", price: int = 1, at: float | None = None) -> None:
    lake.csv(f"goods_{key}_{price}", {"GOODS_ID": key, "PRICE": price}, at=at)


def watermark(lake: SmallLake, name: str = "cursor", pipeline: str = "shop") -> str | None:
    with lake.platform.warehouse.read_only() as transaction:
        return ledger.watermark(transaction, pipeline, name)


def exported(lake: SmallLake) -> list[str]:
    return sorted(path.name.rsplit("_", 1)[1] for path in (lake.home / "lake/shop-bucket/out").rglob("*.csv"))


def fails(_: BatchContext) -> None:
    raise LakeError("The network is down.")


def dies_before_its_commit(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pipeline_assets.batch.run.publish", lambda *_: fails(None))  # type: ignore[arg-type]
        with pytest.raises(LakeError):
            lake.run()


def test_steps_run_in_the_order_of_their_phases_and_know_the_batch(lake: Stepped) -> None:
    """An extract and an arrival land files that the same batch takes."""
    seen: list[tuple[str, str, list[tuple]]] = []

    def note(phase: str) -> Callable[[BatchContext], None]:
        def run(context: BatchContext) -> None:
            rows = lake.rows("SELECT GOODS_ID FROM SHOP.GOODS ORDER BY GOODS_ID")
            seen.append((phase, context.batch_id, rows))
            if phase != "promote" and not lake.path(f"goods_{phase}_1.csv").exists():
                land(lake, phase)

        return run

    DOES.update({phase: note(phase) for phase in ("promote", "arrive", "extract")})
    report = lake.run(extract=True)
    assert [phase for phase, *_ in seen] == ["extract", "arrive", "promote"]
    assert {batch for _, batch, _ in seen} == {report.batch_id}
    assert seen[-1][2] == [("arrive",), ("extract",)]
    seen.clear()
    assert lake.run().new == 0
    assert [phase for phase, *_ in seen] == ["arrive"]


def test_a_publish_step_knows_the_outcomes_and_its_watermark_is_published_with_them(tmp_path: Path) -> None:
    """It also runs if nothing is new, and once in each batch."""
    lake = lake_of(stepped_value(tmp_path / "value", phases=("publish",)), Stepped).at(tmp_path / "home")
    DOES.clear()
    seen: list[dict[str, list[tuple[str, int, bool]]]] = []

    def note(context: BatchContext) -> None:
        seen.append(
            {
                name: [(o.landed.key.rpartition("/")[2], o.loaded, o.rejection is None) for o in outcomes]
                for name, outcomes in context.outcomes.items()
            }
        )
        context.set_watermark("cursor", str(len(seen)))

    DOES["publish"] = note
    land(lake)
    lake.write("goods_broken.csv", "no header\n1\n")
    report = lake.run()
    assert [{name: sorted(each) for name, each in found.items()} for found in seen] == [
        {"goods": [("goods_G1_1.csv", 1, True), ("goods_broken.csv", 0, False)]}
    ]
    assert lake.rows("SELECT VALUE, BATCH_ID FROM OPS.WATERMARKS") == [("1", report.batch_id)]
    assert lake.run().batch_id
    assert (seen[1:], watermark(lake)) == ([{"goods": []}], "2")
    DOES["publish"] = lambda context: seen.append({name: [] for name in context.outcomes})
    assert lake.run().batch_id is None
    assert len(seen) == 3


def test_a_publish_step_that_fails_publishes_nothing(tmp_path: Path) -> None:
    lake = lake_of(stepped_value(tmp_path / "value", phases=("publish",)), Stepped).at(tmp_path / "home")
    DOES.clear()
    DOES["publish"] = fails
    land(lake)
    with pytest.raises(LakeError):
        lake.run()
    assert (lake.cells(), watermark(lake)) == ({"goods": []}, None)
    DOES.clear()
    assert lake.run().loaded == 1


def test_a_publish_step_gets_no_outcome_of_an_object_that_was_overwritten_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = lake_of(stepped_value(tmp_path / "value", phases=("publish",)), Stepped).at(tmp_path / "home")
    DOES.clear()
    DOES["publish"] = lambda context: context.set_watermark(
        "cursor", ",".join(sorted(o.landed.key.rpartition("/")[2] for o in context.outcomes["goods"]))
    )
    land(lake)
    land(lake, "G2")
    changed = type(lake.platform.lake).changed

    def overwritten(self: Lake, objects: Iterable[LandedObject]) -> list[LandedObject]:
        objects = list(objects)
        found = changed(self, objects)
        return found or [o for o in objects if o.key.endswith("goods_G2_1.csv")]

    with monkeypatch.context() as patch:
        patch.setattr(type(lake.platform.lake), "changed", overwritten)
        assert len(lake.run().requeued) == 1
    assert watermark(lake) == "goods_G1_1.csv"


def test_two_exports_of_one_batch_are_two_files(lake: Stepped) -> None:
    land(lake)
    assert set(lake.run().exported) == {"one", "two"}
    assert exported(lake) == ["one.csv", "two.csv"]


def test_a_watermark_is_published_with_the_batch_and_when_no_object_is_new(lake: Stepped) -> None:
    DOES["extract"] = lambda context: context.set_watermark("cursor", f"{context.watermark('cursor')}+")
    land(lake)
    lake.run(extract=True)
    assert watermark(lake) == "None+"
    lake.run(extract=True)
    assert watermark(lake) == "None++"
    lake.run()
    assert watermark(lake) == "None++"
    assert lake.rows("SELECT COUNT(*) FROM OPS.BATCHES") == [(2,)]


@pytest.mark.parametrize("phase", ["extract", "arrive"])
def test_a_run_that_dies_before_its_commit_publishes_nothing(phase: str, lake: Stepped) -> None:
    def half(context: BatchContext) -> None:
        context.set_watermark("cursor", "moved")
        land(lake)
        fails(context)

    DOES[phase] = half
    with pytest.raises(LakeError):
        lake.run(extract=True)
    assert watermark(lake) is None
    assert lake.cells() == {"goods": []}
    DOES.clear()
    assert lake.run().loaded == 1


def test_a_run_that_dies_in_promote_repeats_its_steps_with_the_batch_that_it_was(lake: Stepped) -> None:
    batches: list[str] = []

    def second_time(context: BatchContext) -> None:
        batches.append(context.batch_id)
        if len(batches) == 1:
            fails(context)

    DOES["promote"] = second_time
    DOES["extract"] = lambda context: context.set_watermark("cursor", "moved")
    land(lake)
    with pytest.raises(LakeError):
        lake.run(extract=True)
    assert (watermark(lake), lake.cells()["goods"]) == ("moved", [("G1", "1.0000")])
    assert lake.staged()
    report = lake.run()
    assert (report.new, len(batches), len(set(batches))) == (0, 2, 1)
    assert not lake.staged()
    assert exported(lake) == ["one.csv", "two.csv"]


def test_a_run_that_dies_before_its_commit_is_undone_by_the_next(
    lake: Stepped, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(lake)
    dies_before_its_commit(lake, monkeypatch)
    left = lake.staged()
    assert left
    report = lake.run()
    assert (report.loaded, lake.cells()["goods"]) == (1, [("G1", "1.0000")])
    assert not lake.staged()


def test_extract_is_refused_where_nothing_extracts(tmp_path: Path) -> None:
    home = lake_of(stepped_value(tmp_path / "value", phases=("arrive",)), Stepped).at(tmp_path / "home")
    with pytest.raises(ConfigurationError, match=r"shop has no source to extract from\. Leave --extract out"):
        home.run(extract=True)


def test_recovery_leaves_what_others_stage_in_the_same_bucket(lake: Stepped, monkeypatch: pytest.MonkeyPatch) -> None:
    other = kind("shop_b").at(lake.home)
    for home in (lake, other):
        land(home)
        dies_before_its_commit(home, monkeypatch)
    staging = lake.home / "lake/shop-bucket/staging"
    foreign = {"resume.json", "shop/resume.json", "shop/resumable/1.json", "shop/0123456789abc/x", "x/0123456789ab/y"}
    for name in foreign:
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_text("{}")
    lake.run()
    left = {path.relative_to(staging).as_posix() for path in lake.staged()}
    assert {name for name in left if not name.startswith("shop_b/")} == foreign
    assert left - foreign
    assert other.run().loaded == 1
    assert {path.relative_to(staging).as_posix() for path in lake.staged()} == foreign


# --- keys of any kind, names that the platform uses itself ---------------------------------------------------


@cache
def keyed() -> type[SmallLake]:
    value = pipeline_of(
        temporary(),
        KEYED,
        {
            "booked": "SELECT LEDGER.ENTRY, LEDGER.DAY, LEDGER.AMOUNT, LEDGER.ACCOUNT, QUARANTINE.OPENED FROM LEDGER "
            "LEFT JOIN QUARANTINE ON LEDGER.ACCOUNT = QUARANTINE.ACCOUNT",
            "by_day": "SELECT B.DAY, SUM(B.AMOUNT) AS AMOUNT FROM SHOP.BOOKED AS B GROUP BY B.DAY",
        },
        sources=[LandedFiles(name, f"in/{name}*.csv") for name in ("ledger", "quarantine", "released")],
        tables=[Table("ledger"), Table("quarantine"), Table("released"), Table("booked"), Mart("by_day", "DAY")],
        exports=[CsvExport("booked_csv", of="booked", key="out/{batch_id}.csv")],
    )
    return lake_of(value)


def test_composite_number_and_date_keys_go_end_to_end_under_names_of_the_platform(tmp_path: Path) -> None:
    lake = keyed().with_tables(tmp_path / "home")

    def entry(number: int, day: str, amount: int, account: int = 7) -> dict:
        return {"ENTRY": number, "DAY": day, "AMOUNT": amount, "ACCOUNT": account}

    lake.csv("ledger_1", entry(1, "2024-01-01", 10), entry(1, "2024-01-02", 20), entry(2, "2024-01-01", 5, 8), at=2)
    lake.csv("quarantine_1", {"ACCOUNT": 7, "OPENED": "2020-01-01"}, at=2)
    lake.csv("released_1", {"DAY": "2024-01-01", "NOTE": "new"}, at=2)
    report = lake.run()
    assert (report.rows["loaded"], report.rows["quarantined"]) == (4, 1)
    lake.csv("ledger_2", entry(1, "2024-01-01", 99), at=1)
    lake.csv("released_2", {"DAY": "2024-01-01", "NOTE": "old"}, at=1)
    assert lake.run().exported == {}
    lake.csv("quarantine_3", {"ACCOUNT": 7, "OPENED": "2021-01-01"}, {"ACCOUNT": 8, "OPENED": "2022-01-01"}, at=3)
    assert lake.run().released == 1
    assert lake.cells() == {
        "ledger": [
            ("1", "2024-01-01", "10.0000", "7"),
            ("1", "2024-01-02", "20.0000", "7"),
            ("2", "2024-01-01", "5.0000", "8"),
        ],
        "quarantine": [("7", "2021-01-01"), ("8", "2022-01-01")],
        "released": [("2024-01-01", "new")],
        "booked": [
            ("1", "2024-01-01", "10.0000", "7", "2021-01-01"),
            ("1", "2024-01-02", "20.0000", "7", "2021-01-01"),
            ("2", "2024-01-01", "5.0000", "8", "2022-01-01"),
        ],
        "by_day": [("2024-01-01", "15.0000"), ("2024-01-02", "20.0000")],
    }


def test_a_watermark_after_the_commit_is_refused(tmp_path: Path) -> None:
    """It would be lost without a word."""
    home = lake_of(stepped_value(tmp_path / "value", phases=("promote",)), Stepped).at(tmp_path / "home")
    context = BatchContext(home.platform, home.pipeline(), "0" * 12, "run", START, Request(), is_published=True)
    with pytest.raises(ConfigurationError, match=r"after the commit\. Set it in an extract, arrive or publish step"):
        context.set_watermark("cursor", "1")
