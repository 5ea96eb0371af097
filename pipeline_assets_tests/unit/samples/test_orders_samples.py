"""What the samples of pipeline `orders` promise: the same bytes every time, countable dirt, every legal form."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.samples import SampleFile, write_samples

SHOP, APP = "orders_shop.json", "orders_app.ndjson.gz"
SINGLE, CORRECTIONS, TRUNCATED = "orders_single.json", "orders_corrections.ndjson", "orders_truncated.json.gz"
WHOLE = (SHOP, APP, SINGLE, CORRECTIONS)
SHOP_KINDS = {"missing_key", "not_a_date", "not_a_number", "wrong_type"}
APP_KINDS = SHOP_KINDS | {"malformed_record"}
SCALES = {"tiny": 0.01, "usual": 1.0, "large": 20.0}


def content(file: SampleFile) -> str:
    raw = file.path.read_bytes()
    return (gzip.decompress(raw) if file.key.endswith(".gz") else raw).decode("utf-8")


def loaded(text: str) -> Any:
    """JSON with exact numbers; None for what is no JSON."""
    try:
        return json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError:
        return None


def orders(file: SampleFile) -> list[Any]:
    """The file's records in order, None for a malformed one."""
    if "ndjson" in file.key:
        return [loaded(line) for line in content(file).splitlines()]
    whole = loaded(content(file))
    return whole if isinstance(whole, list) else [whole]


def dirt_of(order: Any) -> str | None:
    if order is None:
        return "malformed_record"
    if order.get("order_id") is None:
        return "missing_key"
    if not isinstance(order["customer"], dict) or not isinstance(order["products"], list):
        return "wrong_type"
    if any(isinstance(line["price"], str) for line in order["products"]):
        return "not_a_number"
    try:
        datetime.fromisoformat(order["order_date"])
    except ValueError:
        return "not_a_date"
    return None


def clean_orders(file: SampleFile) -> list[dict[str, Any]]:
    return [order for order in orders(file) if dirt_of(order) is None]


def lines_of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for order in found for line in order["products"]]


def lines_total(order: dict[str, Any]) -> Decimal:
    return sum((line["price"] * line["quantity"] for line in order["products"]), Decimal(0))


def by_name(files: list[SampleFile]) -> dict[str, SampleFile]:
    return {file.path.name: file for file in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, SampleFile]]:
    """The files of each scale, by name."""
    folders = {name: tmp_path_factory.mktemp(name) / "bucket" for name in SCALES}
    return {name: by_name(write_samples("orders", folders[name], scale=scale)) for name, scale in SCALES.items()}


@pytest.fixture(scope="module")
def usual(written) -> dict[str, SampleFile]:
    return written["usual"]


def test_the_five_files_land_in_the_order_of_their_arrival(usual):
    assert [file.key for file in usual.values()] == [f"incoming/{name}" for name in (*WHOLE, TRUNCATED)]
    arrivals = [file.path.stat().st_mtime for file in usual.values()]
    assert arrivals == sorted(arrivals)
    for file in usual.values():
        assert file.path.as_posix().endswith("/bucket/" + file.key)
        assert file.kind == "orders"


@pytest.mark.parametrize("scale", SCALES)
def test_the_manifest_counts_the_orders_and_the_dirt_that_a_reader_finds(written, scale):
    for name in WHOLE:
        file = written[scale][name]
        found = Counter(dirt_of(order) for order in orders(file))
        assert file.rows == found.total()
        assert set(file.dirt) == (APP_KINDS if name == APP else SHOP_KINDS)
        assert file.dirt == {kind: found[kind] for kind in file.dirt}
        assert found.total() - found[None] == sum(file.dirt.values())


@pytest.mark.parametrize("scale", SCALES)
def test_every_kind_of_dirt_occurs_at_every_scale_and_never_takes_a_file_over(written, scale):
    totals = Counter()
    for name in WHOLE:
        file = written[scale][name]
        totals.update(file.dirt)
        assert sum(file.dirt.values()) <= file.rows / 4
    assert set(totals) == APP_KINDS
    assert min(totals.values()) >= 1


def test_scale_is_linear_down_to_fifty_orders(written):
    counts = {scale: (files[SHOP].rows, files[APP].rows) for scale, files in written.items()}
    assert counts == {"tiny": (30, 20), "usual": (1_200, 800), "large": (24_000, 16_000)}
    assert written["large"][CORRECTIONS].rows == pytest.approx(0.02 * 24_000, rel=0.15)
    assert all(files[CORRECTIONS].rows >= 1 for files in written.values())


def test_dirt_stays_near_five_orders_in_a_thousand(written):
    files = [written["large"][name] for name in (SHOP, APP)]
    assert sum(sum(file.dirt.values()) for file in files) / 40_000 == pytest.approx(0.005, rel=0.2)


def test_the_same_scale_and_seed_give_the_same_bytes(tmp_path, usual):
    again = by_name(write_samples("orders", tmp_path / "elsewhere", scale=1.0, seed=2024))
    assert {name: file.path.read_bytes() for name, file in again.items()} == {
        name: file.path.read_bytes() for name, file in usual.items()
    }


def test_another_seed_gives_other_orders(tmp_path, usual):
    other = by_name(write_samples("orders", tmp_path, seed=7))
    assert all(content(other[name]) != content(usual[name]) for name in (SHOP, APP, CORRECTIONS))


def test_a_larger_scale_starts_with_the_orders_of_a_smaller_one(written):
    for smaller, larger in (("tiny", "usual"), ("usual", "large")):
        for name in (SHOP, APP, CORRECTIONS):
            start = content(written[smaller][name])
            if name == SHOP:
                start = start.removesuffix("\n]\n") + ",\n"
            assert content(written[larger][name]).startswith(start)
        for name in (SINGLE, TRUNCATED):
            assert written[larger][name].path.read_bytes() == written[smaller][name].path.read_bytes()


def test_chunk_borders_leave_no_trace(tmp_path, monkeypatch, written):
    monkeypatch.setattr("pipeline_assets.samples.records.CHUNK_ENTITIES", 7)
    for name, file in by_name(write_samples("orders", tmp_path, scale=SCALES["tiny"])).items():
        before = written["tiny"][name]
        assert file.path.read_bytes() == before.path.read_bytes()
        assert (file.rows, file.dirt) == (before.rows, before.dirt)


def test_writing_the_same_samples_again_touches_no_file(tmp_path):
    def states() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.rglob("*.*")}

    first = write_samples("orders", tmp_path, scale=0.1)
    before = states()
    assert write_samples("orders", tmp_path, scale=0.1) == first
    assert states() == before


def test_the_shop_writes_one_array_with_an_order_on_each_line(usual):
    first, *middle, last = content(usual[SHOP]).splitlines()
    assert (first, last) == ("[", "]")
    assert len(middle) == usual[SHOP].rows
    for order in clean_orders(usual[SHOP]):
        assert list(order) == ["order_id", "order_date", "total_amount", "customer", "products"]
        assert list(order["customer"]) == ["customer_id", "name", "email", "address"]
        ids = [order["order_id"], order["customer"]["customer_id"], *(line["product_id"] for line in order["products"])]
        assert all(type(value) is int for value in ids)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", order["order_date"])
    for line in lines_of(clean_orders(usual[SHOP])):
        assert list(line) == ["product_id", "name", "category", "price", "quantity"]


def test_the_app_writes_ids_as_strings_times_with_offsets_and_keys_nobody_knows(usual):
    found = clean_orders(usual[APP])
    for number, order in ((int(order["order_id"][2:]), order) for order in found):
        assert order["order_id"] == f"A-{number:07}"
        assert isinstance(order["customer"]["customer_id"], str)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", order["order_date"])
        assert order["channel"]
    lines = lines_of(found)
    assert all(isinstance(line["product_id"], str) for line in lines)
    assert 0 < sum("discount" in line for line in lines) < len(lines) / 5


def test_the_single_order_stands_over_many_lines(usual):
    (order,) = orders(usual[SINGLE])
    assert len(content(usual[SINGLE]).splitlines()) > 20
    assert order["total_amount"] == lines_total(order)
    assert len({line["product_id"] for line in order["products"]}) < len(order["products"])


def test_a_corrected_order_is_a_clean_one_of_the_shop_with_other_products(usual):
    current = {order["order_id"]: order for order in clean_orders(usual[SHOP])}
    for order in clean_orders(usual[CORRECTIONS]):
        earlier = current.pop(order["order_id"])
        assert len(order["products"]) != len(earlier["products"])
        assert {key: order[key] for key in ("order_date", "customer")} == {
            key: earlier[key] for key in ("order_date", "customer")
        }


def test_the_truncated_file_cannot_be_read_and_counts_no_orders(usual):
    file = usual[TRUNCATED]
    with pytest.raises(EOFError):
        gzip.decompress(file.path.read_bytes())
    assert file.rows == sum(file.dirt.values()) == 0
    assert 500 < file.path.stat().st_size < 10_000


def test_every_legal_oddity_of_an_order_occurs_but_is_not_the_rule(written):
    for name in (SHOP, APP):
        found = clean_orders(written["large"][name])
        lines = lines_of(found)
        twice = [
            order for order in found if len({line["product_id"] for line in order["products"]}) < len(order["products"])
        ]
        assert len(lines) / len(found) == pytest.approx(2.3, rel=0.02)
        assert sum(not order["products"] for order in found) / len(found) == pytest.approx(0.025, rel=0.2)
        assert sum(order["total_amount"] != lines_total(order) for order in found) / len(found) == pytest.approx(
            0.03, rel=0.2
        )
        assert sum(line["quantity"] < 0 for line in lines) / len(lines) == pytest.approx(0.04, rel=0.2)
        assert 0.02 < len(twice) / len(found) < 0.2
        assert {type(line["price"]) for line in lines} == {int, Decimal}


def test_dates_spread_over_ninety_days(usual):
    days = {date.fromisoformat(order["order_date"][:10]) for name in (SHOP, APP) for order in clean_orders(usual[name])}
    assert len(days) == 90
    assert max(days) - min(days) == timedelta(days=89)


def test_quotes_escapes_commas_and_letters_beyond_ascii_occur_in_both_files(usual):
    for name in (SHOP, APP):
        found = clean_orders(usual[name])
        words = {line["name"] for line in lines_of(found)} | {order["customer"]["address"] for order in found}
        for character in ('"', "\\", ",", "\t", "\n", "é", "Ł", "日", "🎁"):
            assert any(character in word for word in words), character
        assert all(order["customer"]["email"].endswith("@example.com") for order in found)
    assert "\\ud83c" in content(usual[APP])


def test_both_forms_of_a_missing_key_and_of_a_wrong_type_occur_in_the_smallest_samples(written):
    found = [order for name in (SHOP, APP) for order in orders(written["tiny"][name]) if order]
    assert {"order_id" in order for order in found if dirt_of(order) == "missing_key"} == {True, False}
    wrong = [order for order in found if dirt_of(order) == "wrong_type"]
    assert {type(order["customer"]) for order in wrong} == {str, dict}
    assert {type(order["products"]) for order in wrong} == {list, dict}
