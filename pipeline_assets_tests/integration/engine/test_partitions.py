"""Files of a lake table: an order is in one file, a reader sees it whole or not at all, and files stay few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations_with_replacement, pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline_assets.engine import lake_table_writer
from pipeline_assets_tests.support.lake_folder import LakeFolder, Placed

ONE, TWO, THREE = "2026-01-01", "2026-01-02", "2026-01-03"
MB = 1 << 20


@pytest.fixture
def lake(tmp_path: Path) -> LakeFolder:
    return LakeFolder(tmp_path, 128 * MB)


@contextmanager
def small_groups(group: int = 4, travelling: int = 3, in_a_pass: int = 750_000) -> Iterator[None]:
    """The numbers of rows that decide when a file may end, made small: few rows are many files then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake_table_writer, "_ROW_GROUP", group)
        patch.setattr(lake_table_writer, "_BATCH", travelling)
        patch.setattr(lake_table_writer, "_PASS_ROWS", in_a_pass)
        yield


@pytest.fixture
def _small_groups() -> Iterator[None]:
    with small_groups():
        yield


def placed(day: str, *names: str) -> Placed:
    return (day, names)


def laid(files: list) -> list[tuple[str | None, str, int]]:
    return [(file.key, file.partition, file.rows) for file in files]


# --- new partitions ------------------------------------------------------------------------------------------


def test_a_new_partition_is_one_file_however_many_orders_come(lake: LakeFolder) -> None:
    batch = {str(n): placed((ONE, TWO, THREE)[n % 3], "a", "b") for n in range(30)}
    layout = lake.run(batch)

    assert laid(layout.written) == [(None, ONE, 20), (None, TWO, 20), (None, THREE, 20)]
    assert (layout.removed, layout.released) == ([], [])


def test_every_file_has_exactly_the_columns_and_types_of_the_table(lake: LakeFolder) -> None:
    """Whoever reads the lake relies on them; one column that is NULL throughout must not change its type."""
    lake.run({"1": placed(ONE, "a"), "2": placed(TWO, "b")})
    lake.run({"1": placed(TWO, "a"), "3": placed(ONE, "c"), "4": placed(TWO, "d")})
    texts = ["order_id", "order_date", "customer_id", "customer_name", "email", "address"]
    texts += ["product_id", "product_name", "category"]
    kinds = {**dict.fromkeys(texts, pa.string()), "quantity": pa.int64()}
    kinds |= dict.fromkeys(["total_amount", "price"], pa.float64())

    for key in lake.files():
        found = pq.read_schema(lake.lake / key)
        assert dict(zip(found.names, found.types, strict=True)) == kinds
        assert found.names[:3] == ["order_id", "order_date", "total_amount"]
        groups = pq.read_metadata(lake.lake / key).row_group(0)
        assert {groups.column(n).compression for n in range(groups.num_columns)} == {"ZSTD"}


def test_a_batch_without_rows_writes_nothing(lake: LakeFolder) -> None:
    assert lake.run({}).written == []
    assert lake.run({"1": placed(ONE)}).written == []


@pytest.mark.usefixtures("_small_groups")
def test_a_new_file_starts_at_the_target_size_and_never_within_an_order(tmp_path: Path) -> None:
    lake = LakeFolder(tmp_path, 1)
    layout = lake.run({f"{n:02}": placed(ONE, *"abcdefgh"[: 1 + n % 5]) for n in range(40)})

    assert len(layout.written) > 5
    assert {file.partition for file in layout.written} == {ONE}
    assert {file.key for file in layout.written} == {None}
    assert all(file.rows >= 4 for file in layout.written[:-1])  # a row group is what makes a file full
    orders = sorted(sorted(lake.in_file(key)) for key in lake.files())
    assert all(before[-1] < after[0] for before, after in pairwise(orders))


@pytest.mark.usefixtures("_small_groups")
def test_one_order_larger_than_the_target_is_one_file(tmp_path: Path) -> None:
    lake = LakeFolder(tmp_path, 1)
    layout = lake.run({"1": placed(ONE, *(f"{n}" for n in range(50))), "2": placed(ONE, "x")})

    assert sorted(file.rows for file in layout.written) == [1, 50]


# --- files that are there ------------------------------------------------------------------------------------


def test_rows_of_a_known_key_go_back_to_their_file_and_other_files_stay(lake: LakeFolder) -> None:
    lake.put(f"dt={ONE}/a.parquet", {"1": ("a",), "2": ("b",)})
    lake.put(f"dt={ONE}/b.parquet", {"3": ("c",)})
    lake.put(f"dt={TWO}/c.parquet", {"4": ("d",)})
    layout = lake.run({"3": placed(ONE, "c1", "c2")})

    assert laid(layout.written) == [(f"dt={ONE}/b.parquet", ONE, 2)]
    assert (layout.removed, layout.released) == ([], [])


def test_a_new_order_goes_into_the_smallest_of_the_small_files(lake: LakeFolder) -> None:
    lake.put(f"dt={ONE}/a.parquet", {str(n): ("x" * 40, str(n)) for n in range(400)})
    lake.put(f"dt={ONE}/b.parquet", {"b": ("1",)})
    lake.put(f"dt={ONE}/c.parquet", {"c": tuple(map(str, range(50)))})
    layout = lake.run({"new": placed(ONE, "n"), "newer": placed(ONE, "n")})

    assert laid(layout.written) == [(f"dt={ONE}/b.parquet", ONE, 3)]


def test_a_file_of_half_the_target_takes_no_new_orders(tmp_path: Path) -> None:
    lake = LakeFolder(tmp_path, 1)
    lake.put(f"dt={ONE}/a.parquet", {"1": ("a",)})
    lake.target_bytes = 2 * (lake.lake / f"dt={ONE}/a.parquet").stat().st_size
    layout = lake.run({"2": placed(ONE, "b")})
    assert laid(layout.written) == [(None, ONE, 1)]

    lake.target_bytes = 2 * max((lake.lake / key).stat().st_size for key in lake.files()) + 1
    assert len(lake.run({"3": placed(ONE, "c")}).written) == 1
    assert len(lake.files()) == 2


def test_files_stay_few_however_many_batches_there_are(lake: LakeFolder) -> None:
    for number in range(12):
        lake.run({f"{number}": placed(ONE, "a"), f"{number}x": placed(TWO, "a")})

    assert len(lake.files()) == 2


@pytest.mark.usefixtures("_small_groups")
def test_what_does_not_fit_into_a_small_file_opens_a_new_one(tmp_path: Path) -> None:
    """The rows that lay there stay in the file; only new orders go on."""
    lake = LakeFolder(tmp_path, 1)
    lake.put(f"dt={ONE}/a.parquet", {f"old{n}": ("a", "b") for n in range(9)})
    lake.target_bytes = 3 * (lake.lake / f"dt={ONE}/a.parquet").stat().st_size
    layout = lake.run({f"new{n:03}": placed(ONE, "a", "b") for n in range(200)})

    assert layout.written[0].key == f"dt={ONE}/a.parquet"
    assert {file.key for file in layout.written[1:]} == {None}
    assert {f"old{n}" for n in range(9)} <= set(lake.in_file(f"dt={ONE}/a.parquet"))
    assert len(lake.files()) > 1


@pytest.mark.usefixtures("_small_groups")
def test_a_file_above_the_target_keeps_the_orders_that_lie_in_it(tmp_path: Path) -> None:
    """Only new orders open a file: one that lay there would be gone for a moment, and its file change at every run."""
    lake = LakeFolder(tmp_path, 1)
    lake.put(f"dt={ONE}/a.parquet", {f"{n:02}": ("a", "b") for n in range(20)})
    layout = lake.run({f"{n:02}": placed(ONE, "c", "d", "e") for n in range(15)})

    assert laid(layout.written) == [(f"dt={ONE}/a.parquet", ONE, 55)]


# --- orders that move or vanish ------------------------------------------------------------------------------


def test_an_order_that_changes_its_day_is_let_go_before_it_is_shown_elsewhere(lake: LakeFolder) -> None:
    lake.put(f"dt={ONE}/a.parquet", {"1": ("a",), "2": ("b",)})
    layout = lake.run({"1": placed(TWO, "a1")})

    assert laid(layout.released) == [(f"dt={ONE}/a.parquet", ONE, 1)]
    assert laid(layout.written) == [(f"dt={ONE}/a.parquet", ONE, 1), (None, TWO, 1)]
    assert layout.removed == []


def test_a_file_of_which_nothing_is_left_is_removed(lake: LakeFolder) -> None:
    lake.put(f"dt={TWO}/a.parquet", {"1": ("a",)})
    layout = lake.run({"1": placed(ONE, "a1")})

    assert (layout.removed, layout.released) == ([f"dt={TWO}/a.parquet"], [])
    assert laid(layout.written) == [(None, ONE, 1)]


def test_a_file_that_is_emptied_and_filled_again_is_not_seen_with_what_left_it(lake: LakeFolder) -> None:
    """Files are written by partition, so what left is shown in its earlier one before the file is written again."""
    lake.put(f"dt={TWO}/a.parquet", {"1": ("a",)})
    layout = lake.run({"1": placed(ONE, "a1"), "2": placed(TWO, "b")})

    assert layout.removed == [f"dt={TWO}/a.parquet"]
    assert len(lake.files()) == 2


def test_two_orders_change_places(lake: LakeFolder) -> None:
    lake.put(f"dt={ONE}/a.parquet", {"1": ("a",), "x": ("x",)})
    lake.put(f"dt={TWO}/b.parquet", {"2": ("b",), "y": ("y",)})
    lake.run({"1": placed(TWO, "a1"), "2": placed(ONE, "b1")})

    assert len(lake.files()) == 2


def test_an_order_without_products_any_more_leaves_the_lake(lake: LakeFolder) -> None:
    lake.put(f"dt={ONE}/a.parquet", {"1": ("a",), "2": ("b",)})
    lake.put(f"dt={TWO}/b.parquet", {"3": ("c",)})
    layout = lake.run({"1": placed(ONE), "3": placed(THREE)})

    assert laid(layout.written) == [(f"dt={ONE}/a.parquet", ONE, 1)]
    assert layout.removed == [f"dt={TWO}/b.parquet"]


@pytest.mark.parametrize("day", [ONE, TWO, THREE])
@pytest.mark.parametrize("names", [("new",), ()])
def test_an_order_that_lies_twice_by_damage_is_healed(lake: LakeFolder, day: str, names: tuple[str, ...]) -> None:
    """In two files of a day, and in another day: whatever happened, afterwards it is in one file or in none."""
    lake.put(f"dt={ONE}/a.parquet", {"1": ("a",), "2": ("b",)})
    lake.put(f"dt={ONE}/b.parquet", {"3": ("c",), "1": ("a", "a2")})
    lake.put(f"dt={TWO}/c.parquet", {"1": ("z",)})
    lake.orders["1"] = placed(TWO)
    plan = {"1": placed(day, *names)}
    if day != ONE:
        # The warehouse knows the newest day only; the older ones must be in the batch's partitions to be found.
        plan["2"] = placed(ONE, "b1")
    layout = lake.plan(plan)
    for _ in lake.steps(layout):
        assert {"3"} <= set(lake.seen())
    lake.orders |= plan
    lake.check()


FATES = ("stays", "changed", "moved", "moved elsewhere", "without products")
COMPANY = ("nobody else", "a new order of the day", "an order of another day")


def test_whatever_becomes_of_the_two_orders_of_a_file(lake: LakeFolder) -> None:
    """A file that loses all its rows is removed and not written again, in whichever ways it loses them.

    Every pair of fates, with and without an order that comes to the file's day, has three days of its own.
    """
    batch: dict[str, Placed] = {}
    emptied, kept = [], []
    for number, (pair, company) in enumerate(product(combinations_with_replacement(FATES, 2), COMPANY)):
        before, day, after = (f"{2001 + number}-01-0{n}" for n in (1, 2, 3))
        key = f"dt={day}/a.parquet"
        lake.put(key, {f"{number}-1": ("a",), f"{number}-2": ("b", "b2")})
        lake.put(f"dt={before}/b.parquet", {f"{number}-x": ("x",), f"{number}-y": ("y",)})
        there = {
            "changed": placed(day, "c"),
            "moved": placed(before, "m"),
            "moved elsewhere": placed(after, "m", "n"),
        }
        there["without products"] = placed(day)
        batch |= {f"{number}-{n}": there[fate] for n, fate in enumerate(pair, 1) if fate != "stays"}
        if company != "nobody else":
            batch[f"{number}-new" if "new" in company else f"{number}-x"] = placed(day, "n")
        stay = company != "nobody else" or {"stays", "changed"} & set(pair)
        (kept if stay else emptied).append(key)
    layout = lake.plan(batch)
    lake.check_layout(layout)
    list(lake.steps(layout))
    lake.orders |= batch
    lake.check()

    assert len(emptied) == 6
    assert set(emptied) <= set(layout.removed)
    assert not set(emptied) & {file.key for file in (*layout.released, *layout.written)}
    assert not set(emptied) & set(lake.files())
    assert set(kept) <= set(lake.files())


# --- any batches ---------------------------------------------------------------------------------------------

keys = st.sampled_from([f"{n}" for n in range(9)])
days = st.sampled_from([ONE, TWO, THREE])
batches = st.lists(
    st.dictionaries(keys, st.tuples(days, st.integers(0, 4)), min_size=1, max_size=6), min_size=1, max_size=4
)
targets = st.sampled_from([1, 5_000, 7_800, 9_000, 12_000, 128 * MB])


@settings(max_examples=30, deadline=None)
@given(history=batches, target=targets, group=st.integers(1, 4), travelling=st.integers(1, 5), one_pass=st.booleans())
@example([{"1": (TWO, 1)}, {"1": (ONE, 1), "2": (TWO, 1)}], 128 * MB, 4, 3, True)
def test_after_any_batches_the_lake_holds_each_order_once_and_whole(
    history: list[dict], target: int, group: int, travelling: int, one_pass: bool
) -> None:
    """Also between any two steps of a batch: `LakeFolder.run` looks after each of them."""
    with TemporaryDirectory() as folder, small_groups(group, travelling, 750_000 if one_pass else 1):
        lake = LakeFolder(Path(folder), target)
        for number, batch in enumerate(history):
            lake.run(
                {key: placed(day, *(f"{number}.{n}" for n in range(count))) for key, (day, count) in batch.items()}
            )
