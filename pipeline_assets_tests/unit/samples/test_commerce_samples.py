"""What the samples of pipeline `commerce` promise: files that only grow, countable dirt, the same records delivered."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline_assets.commands.demo import _sample_folder
from pipeline_assets.samples import SampleFile, write_samples
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support.commerce_deliveries import Delivery, deliveries
from pipeline_assets_tests.support.commerce_model import COLUMNS

# The longest texts that TPC-H allows.
LONGEST = {
    "customers": {"C_NAME": 25, "C_ADDRESS": 40, "C_PHONE": 15, "C_MKTSEGMENT": 10, "C_COMMENT": 117},
    "orders": {"O_ORDERSTATUS": 1, "O_ORDERPRIORITY": 15, "O_CLERK": 15, "O_COMMENT": 79},
}
SCALES = {"tiny": 0.01, "usual": 1.0, "large": 4.0}
BAD = {"missing_key", "not_a_number", "malformed_record"}
KINDS = {
    "customers": BAD | {"duplicate", "changed", "namesake", "embedded_newline", "padded"},
    "orders": BAD | {"duplicate", "changed", "early", "orphan", "embedded_newline", "padded"},
}


def parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def records(file: SampleFile) -> list[list[str]]:
    return parsed(file.path.read_text(encoding="utf-8-sig"))


def rows(file: SampleFile) -> list[dict[str, str]]:
    """The good records as columns and texts, in the order of the file."""
    found = [
        dict(zip(COLUMNS[file.kind], record, strict=True)) for record in records(file) if not dirt_of(file.kind, record)
    ]
    assert found
    return found


def dirt_of(dataset: str, record: list[str]) -> str | None:
    """The kind of a bad record."""
    if len(record) != len(COLUMNS[dataset]):
        return "malformed_record"
    if not record[0]:
        return "missing_key"
    amount = dict(zip(COLUMNS[dataset], record, strict=True))["C_ACCTBAL" if dataset == "customers" else "O_TOTALPRICE"]
    return None if re.fullmatch(r"-?\d{1,10}\.\d\d", amount) else "not_a_number"


def kinds_found(files: dict[str, SampleFile], dataset: str) -> Counter[str]:
    """Each kind counted from the files alone."""
    file = files[dataset]
    found = Counter(kind for record in records(file) if (kind := dirt_of(dataset, record)))
    versions: dict[str, list[list[str]]] = {}
    for row in rows(file):
        key, *others = row.values()
        earlier = versions.setdefault(key, [])
        if earlier:
            found["duplicate" if others in earlier else "changed"] += 1
        first = not earlier
        earlier.append(others)
        found["embedded_newline"] += any("\n" in value for value in others)
        found["padded"] += others[-1] != others[-1].strip()
        if dataset == "customers":
            named = int(re.fullmatch(r"Customer#(\d{9})( & Sons)?", row["C_NAME"])[1])
            found["namesake"] += named != int(key)
        elif first:
            customer, allowed = int(row["O_CUSTKEY"]), (int(key) - 1) // 10 + 1
            found["orphan"] += customer > 900_000_000
            found["early"] += allowed < customer < 900_000_000
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, SampleFile]]:
    """The files of each scale, by dataset."""
    folders = {name: tmp_path_factory.mktemp(name) / "commerce" for name in SCALES}
    return {
        name: {file.kind: file for file in write_samples("commerce", folders[name], scale=scale)}
        for name, scale in SCALES.items()
    }


@pytest.fixture(scope="module")
def usual(written) -> dict[str, SampleFile]:
    return written["usual"]


@pytest.fixture(scope="module")
def delivered() -> list[Delivery]:
    return deliveries()


# --- the files -----------------------------------------------------------------------------------------------


def test_the_samples_of_a_producer_are_sources_and_others_land_in_their_bucket(tmp_path):
    settings = load_settings(home=tmp_path)
    assert _sample_folder(settings, "commerce") == tmp_path / "sources" / "commerce"
    assert _sample_folder(settings, "orders") == tmp_path / "lake" / "orders-source"


def test_the_files_have_no_header_and_every_record_ends_with_a_newline(usual):
    assert {file.path.name for file in usual.values()} == {"customers.csv", "orders.csv"}
    for file in usual.values():
        assert file.path.read_bytes().endswith(b"\n")
        assert b"\r" not in file.path.read_bytes()
        assert records(file)[0][0] == "1"
        assert file.rows == len(records(file))


def test_a_byte_order_mark_stands_before_the_first_customer_only(usual):
    assert usual["customers"].path.read_bytes().startswith(b"\xef\xbb\xbf1,")
    assert usual["customers"].path.read_bytes().count(b"\xef\xbb\xbf") == 1
    assert usual["orders"].path.read_bytes().startswith(b"1,")


def test_scale_is_linear_down_to_sixty_customers(written):
    keys = {
        name: tuple(len({row[next(iter(row))] for row in rows(file)}) for file in files.values())
        for name, files in written.items()
    }
    assert keys == {"tiny": (60, 600), "usual": (1_500, 15_000), "large": (6_000, 60_000)}


def test_no_text_is_longer_than_tpc_h_allows(written):
    for dataset, file in written["large"].items():
        for row in rows(file):
            assert all(len(row[name]) <= longest for name, longest in LONGEST[dataset].items()), row


@pytest.mark.parametrize("scale", SCALES)
def test_the_manifest_counts_the_dirt_that_a_reader_finds(written, scale):
    for dataset, file in written[scale].items():
        found = kinds_found(written[scale], dataset)
        assert file.dirt == {kind: found[kind] for kind in KINDS[dataset]}


@pytest.mark.parametrize("scale", SCALES)
def test_every_kind_of_dirt_occurs_at_every_scale(written, scale):
    for dataset, file in written[scale].items():
        assert set(file.dirt) == KINDS[dataset]
        assert min(file.dirt.values()) >= 1


def test_the_forms_of_each_dirt_all_occur_in_the_smallest_samples(written):
    for file in written["tiny"].values():
        text = file.path.read_text(encoding="utf-8-sig")
        assert ",12x.50," in text
        assert ",n/a," in text
        assert '""' in text
        assert ',"  ' in text
        assert ",  " in text
        assert any("," in value for row in rows(file) for value in row.values())
        assert sum(file.dirt[kind] for kind in BAD) < file.rows / 10


def test_a_changed_order_changes_only_its_status_and_may_enter_or_leave_f(usual):
    versions: dict[str, list[dict[str, str]]] = {}
    for row in rows(usual["orders"]):
        versions.setdefault(row["O_ORDERKEY"], []).append(row)
    changes = Counter()
    for first, *later in versions.values():
        for newer in later:
            if newer != first:
                assert [name for name in first if newer[name] != first[name]] == ["O_ORDERSTATUS"]
                changes[first["O_ORDERSTATUS"], newer["O_ORDERSTATUS"]] += 1
    assert set(changes) == {("O", "F"), ("P", "F"), ("F", "P")}
    assert changes["O", "F"] > 100


def test_a_changed_customer_has_another_name(usual):
    names: dict[str, list[str]] = {}
    for row in rows(usual["customers"]):
        names.setdefault(row["C_CUSTKEY"], []).append(row["C_NAME"])
    renamed = [found for found in names.values() if len(set(found)) > 1]
    assert len(renamed) == usual["customers"].dirt["changed"]
    assert all(later == f"{first} & Sons" for first, later in renamed)


# --- the same bytes ------------------------------------------------------------------------------------------


def states(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_the_same_scale_and_seed_give_the_same_bytes(tmp_path, usual):
    for file in write_samples("commerce", tmp_path / "elsewhere", scale=1.0, seed=2024):
        assert file.path.read_bytes() == usual[file.kind].path.read_bytes()
    for file in write_samples("commerce", tmp_path / "other", seed=7):
        assert file.path.read_bytes() != usual[file.kind].path.read_bytes()


def test_chunk_borders_leave_no_trace(tmp_path, monkeypatch, written):
    monkeypatch.setattr("pipeline_assets.samples.records.CHUNK_ENTITIES", 7)
    for file in write_samples("commerce", tmp_path, scale=SCALES["tiny"]):
        before = written["tiny"][file.kind]
        assert file.path.read_bytes() == before.path.read_bytes()
        assert (file.rows, file.dirt) == (before.rows, before.dirt)


def test_writing_the_same_samples_again_touches_no_file(tmp_path):
    first = write_samples("commerce", tmp_path, scale=0.1)
    before = states(tmp_path)
    assert write_samples("commerce", tmp_path, scale=0.1) == first
    assert states(tmp_path) == before


def test_a_larger_scale_appends_to_the_files_that_are_tailed(tmp_path, usual):
    write_samples("commerce", tmp_path, scale=0.1)
    before = states(tmp_path)
    write_samples("commerce", tmp_path, scale=1.0)
    after = states(tmp_path)
    assert all(after[name][0] == inode and after[name][1] > size for name, (inode, size, _) in before.items())
    assert (tmp_path / "orders.csv").read_bytes() == usual["orders"].path.read_bytes()


@pytest.mark.parametrize("kept", [0, 1, 1_000, -1])
def test_a_write_that_was_killed_is_completed_in_place(tmp_path, usual, kept):
    whole = usual["orders"].path.read_bytes()
    path = tmp_path / "orders.csv"
    path.write_bytes(whole[:kept])
    inode = path.stat().st_ino
    write_samples("commerce", tmp_path)
    assert (path.stat().st_ino, path.read_bytes()) == (inode, whole)


def test_records_that_somebody_added_stay_where_they_are(tmp_path):
    write_samples("commerce", tmp_path, scale=0.1)
    with (tmp_path / "orders.csv").open("a") as file:
        file.write("20000,1,F,12.50,2024-03-01,1-URGENT,Clerk#000000001,0,by hand\n")
    before = states(tmp_path)
    write_samples("commerce", tmp_path, scale=0.1)
    assert states(tmp_path) == before


def test_other_records_replace_a_file_whole(tmp_path):
    write_samples("commerce", tmp_path, scale=0.1)
    before = states(tmp_path)
    write_samples("commerce", tmp_path, scale=0.1, seed=7)
    assert all(states(tmp_path)[name][0] != inode for name, (inode, _, _) in before.items())


# --- the deliveries ------------------------------------------------------------------------------------------


def by_dataset(delivered: list[Delivery], dataset: str) -> list[Delivery]:
    """The objects of a dataset in the order of their delivery."""
    found = [delivery for delivery in delivered if f"/{dataset}/" in delivery.key]
    return sorted(found, key=lambda delivery: delivery.key)


def test_deliveries_are_the_records_of_the_files_in_their_order(usual, delivered):
    for dataset, file in usual.items():
        texts = [delivery.content.decode("utf-8-sig") for delivery in by_dataset(delivered, dataset)]
        assert [record for text in texts for record in parsed(text)] == records(file)


def test_keys_are_those_of_firehose_and_their_folder_is_the_hour_of_delivery(delivered):
    for key, _ in delivered:
        found = re.fullmatch(
            r"firehose/(customers|orders)/landing/(\d{4}/\d\d/\d\d/\d\d)/"
            r"pipeline-assets-\1-1-(\d{4}-\d\d-\d\d-\d\d)-\d\d-\d\d-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
            key,
        )
        assert found, key
        assert found[2].replace("/", "-") == found[3]
    assert len({key for key, _ in delivered}) == len(delivered) == 20


@pytest.mark.parametrize(("objects", "days"), [(2, 1), (5, 3), (20, 2), (100, 4)])
def test_deliveries_spread_over_days_and_arrive_out_of_order(objects, days):
    found = deliveries(scale=0.1, objects=objects, days=days)
    assert len(found) == objects
    assert len({re.search(r"landing/(\d{4}/\d\d/\d\d)/", key)[1] for key, _ in found}) >= min(objects // 2, days)
    times = [re.search(r"-1-(.*)-[0-9a-f]{8}-", key)[1] for key, _ in found]
    assert times != sorted(times) or objects == 2


def test_objects_lack_a_final_newline_or_start_with_a_byte_order_mark(delivered):
    assert sum(not content.endswith(b"\n") for _, content in delivered) >= 4
    assert sum(content.startswith(b"\xef\xbb\xbf") for _, content in delivered) == 1


def test_the_same_seed_gives_the_same_deliveries(delivered):
    assert deliveries(seed=2024, scale=1.0, objects=20, days=2) == delivered
    assert deliveries(seed=7) != delivered


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_some_customers_are_delivered_a_day_after_their_order(scale):
    found = deliveries(scale=scale)
    day = {"customers": {}, "orders": {}}
    for dataset in day:
        for key, content in by_dataset(found, dataset):
            for record in parsed(content.decode("utf-8-sig")):
                if not dirt_of(dataset, record):
                    name = record[0] if dataset == "customers" else (record[0], record[1], record[2])
                    day[dataset].setdefault(name, key.split("landing/")[1][:10])
    late = [order for order, when in day["orders"].items() if day["customers"].get(order[1], when) > when]
    assert any(status == "F" for _, _, status in late)


def test_fewer_than_two_objects_are_refused():
    with pytest.raises(ValueError, match="two objects"):
        deliveries(objects=1)


def test_no_object_is_empty_if_there_are_more_objects_than_records():
    found = deliveries(scale=0.01, objects=400)
    assert all(content.strip() for _, content in found)
