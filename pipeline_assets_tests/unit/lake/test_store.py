"""One suite for every store: what holds for plain files holds for S3."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline_assets.errors import (
    ConfigurationError,
    LakeError,
    ObjectChangedError,
    PipelineError,
    RejectedObjectError,
)
from pipeline_assets.lake import Lake, LandedObject, LocalLake, S3Lake
from pipeline_assets.lake.foreign import escaped, rejection
from pipeline_assets.lake.store import copy_into_lake
from pipeline_assets_tests.support.moto_aws import SECRET
from pipeline_assets_tests.support.object_stores import BUCKET, REGION, Put

AWKWARD = [
    "in/a b.csv",
    "in/ leading and trailing ",
    "in/no#1.csv",
    "in/100%.csv",
    "in/%20.csv",
    "in/a+b&c=d?.csv",
    "in/ä€🦆.csv",
    "in/[brackets].csv",
    "in/{braces}^~*|<>:.csv",
    'in/it\'s "quoted".csv',
    "in/back\\slash.csv",
    "in/.hidden",
    "in/" + "n" * 250,
]


def keys(store: Lake, prefix: str = "in/", after: str | None = None) -> list[str]:
    return sorted(landed.key for landed in store.list_objects(BUCKET, prefix, after))


# --- what lies there ---------------------------------------------------------------------------------------


def test_a_listing_and_a_head_name_the_same_version(store: Lake, put: Put) -> None:
    landed = put("in/a.csv", b"12345")

    assert [entry.identity for entry in store.list_objects(BUCKET, "in/")] == [landed.identity]
    assert landed.uri == f"{store.scheme}://{BUCKET}/in/a.csv"
    assert (landed.bucket, landed.key, landed.size) == (BUCKET, "in/a.csv", 5)
    assert landed.etag
    assert '"' not in landed.etag
    assert landed.modified.tzinfo is not None


def test_an_overwritten_object_is_another_version(store: Lake, put: Put) -> None:
    """The same key with as many new bytes: the name and the size do not tell, the etag does."""
    before, after = put("in/a.csv", b"one"), put("in/a.csv", b"two")

    assert before.uri == after.uri
    assert before.size == after.size
    assert before.identity != after.identity


@pytest.mark.parametrize("key", AWKWARD)
def test_a_key_is_taken_as_it_is(store: Lake, put: Put, tmp_path: Path, key: str) -> None:
    landed = put(key, key.encode())

    assert landed.key == key
    assert keys(store) == [key]
    assert store.fetch(landed, tmp_path).read_bytes() == key.encode()
    assert store.changed([landed]) == []
    store.delete([landed.uri])
    assert keys(store) == []


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(store: Lake, put: Put) -> None:
    for key in ("in/a", "in/deep/er/b", "inside/c", "other/d", "e"):
        put(key)

    assert keys(store, "in/") == ["in/a", "in/deep/er/b"]
    assert keys(store, "") == ["e", "in/a", "in/deep/er/b", "inside/c", "other/d"]


def test_an_absent_prefix_is_empty(store: Lake, put: Put) -> None:
    assert keys(store, "") == []
    put("other/a")
    assert keys(store, "in/") == []


def test_a_listing_can_begin_after_a_key(store: Lake, put: Put) -> None:
    for name in ("a", "b", "b#", "c", "ä"):
        put(f"in/{name}")

    assert keys(store, after="in/b") == ["in/b#", "in/c", "in/ä"]
    assert keys(store, after="in/bb") == ["in/c", "in/ä"]
    assert keys(store, after="in/🦆") == []


def test_an_empty_object_is_an_object(store: Lake, put: Put, tmp_path: Path) -> None:
    landed = put("in/empty.csv", b"")

    assert keys(store) == ["in/empty.csv"]
    assert store.fetch(landed, tmp_path).read_bytes() == b""


def test_the_head_of_what_is_not_there_is_none(store: Lake) -> None:
    assert store.head(store.uri(BUCKET, "in/absent")) is None


# --- reading -----------------------------------------------------------------------------------------------


def test_reading_an_overwritten_object_says_so(store: Lake, put: Put, tmp_path: Path) -> None:
    """FAULTS 5: overwritten between listing and reading."""
    listed = put("in/a.csv", b"one")
    put("in/a.csv", b"two")

    with pytest.raises(ObjectChangedError, match=r"in/a\.csv was overwritten") as changed:
        store.fetch(listed, tmp_path)
    assert changed.value.uri == listed.uri
    assert changed.value.transient


def test_reading_an_object_that_is_gone_says_so(store: Lake, put: Put, tmp_path: Path) -> None:
    listed = put("in/a.csv")
    store.delete([listed.uri])

    with pytest.raises(ObjectChangedError):
        store.fetch(listed, tmp_path)


def test_two_objects_of_one_name_are_read_side_by_side(store: Lake, put: Put, tmp_path: Path) -> None:
    one, two = put("in/1/same.csv", b"one"), put("in/2/same.csv", b"two")

    paths = [store.fetch(landed, tmp_path) for landed in (one, two)]

    assert [path.read_bytes() for path in paths] == [b"one", b"two"]


def test_changed_names_what_is_another_version_or_gone(store: Lake, put: Put) -> None:
    same, overwritten, gone = put("in/same"), put("in/overwritten", b"1"), put("in/gone")
    put("in/overwritten", b"2")
    store.delete([gone.uri])

    assert store.changed([same, overwritten, gone]) == [overwritten, gone]


# --- writing -----------------------------------------------------------------------------------------------


def test_a_published_object_is_seen_whole_or_not_at_all(store: Lake, put: Put, tmp_path: Path) -> None:
    versions = [bytes([letter]) * 300_000 for letter in b"abc"]
    seen: set[bytes] = set()
    names: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for landed in list(store.list_objects(BUCKET, "in/")):
                names.add(landed.key)
                try:
                    seen.add(store.fetch(landed, tmp_path).read_bytes())
                except ObjectChangedError:
                    continue

    reader = threading.Thread(target=watch)
    reader.start()
    for _ in range(5):
        for content in versions:
            put("in/big.csv", content)
    done.set()
    reader.join()

    assert seen <= set(versions)
    assert names <= {"in/big.csv"}


def test_nothing_but_the_object_is_left_in_the_lake(store: Lake, put: Put) -> None:
    put("in/a.csv")

    assert keys(store, "") == ["in/a.csv"]


def test_a_copy_leaves_its_source(store: Lake, tmp_path: Path) -> None:
    source = tmp_path / "source.csv"
    source.write_text("kept")

    uri = copy_into_lake(store, source, BUCKET, "in/copy.csv", tmp_path / "scratch")

    assert source.read_text() == "kept"
    assert store.head(uri).size == 4
    assert keys(store, "") == ["in/copy.csv"]


def test_a_moved_object_is_under_its_new_key_only(store: Lake, put: Put, tmp_path: Path) -> None:
    put("in/a b.csv", b"moved")

    uri = store.move(BUCKET, "in/a b.csv", "out/deep/a b.csv")

    assert keys(store, "") == ["out/deep/a b.csv"]
    assert store.fetch(store.head(uri), tmp_path).read_bytes() == b"moved"


def test_deleting_twice_is_no_error_and_spares_no_other(store: Lake, put: Put) -> None:
    first, last = put("in/a.csv"), put("in/b.csv")

    store.delete([first.uri, first.uri, last.uri])

    assert keys(store, "") == []


def test_deleting_a_prefix_counts_and_spares_its_neighbours(store: Lake, put: Put) -> None:
    for key in ("staging/b1/x", "staging/b1/deep/y", "staging/b10/z"):
        put(key)

    assert store.delete_prefix(BUCKET, "staging/b1/") == 2
    assert store.delete_prefix(BUCKET, "staging/b1/") == 0
    assert keys(store, "") == ["staging/b10/z"]


# --- errors ------------------------------------------------------------------------------------------------


def assert_one_line_without_secret(error: PipelineError, *named: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert "Debug source" not in text
    assert "<?xml" not in text
    assert SECRET not in text
    assert error.remedy
    for name in named:
        assert name in text


def test_moving_what_is_not_there_is_an_error_on_one_line(store: Lake, put: Put) -> None:
    put("in/a.csv")

    with pytest.raises(LakeError) as refused:
        store.move(BUCKET, "in/absent.csv", "out/absent.csv")
    assert_one_line_without_secret(refused.value, "moving", "in/absent.csv", "out/absent.csv")


@pytest.mark.parametrize("key", ["../outside", "in/../../outside", "in//a.csv", "in/./a.csv", "", "/etc/x", "in/"])
def test_a_key_that_no_store_can_keep_is_refused(store: Lake, put: Put, tmp_path: Path, key: str) -> None:
    put("in/a.csv")
    (tmp_path / "source").write_text("x")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(ConfigurationError, match="is not a key of landing-bucket"):
        store.publish(tmp_path / "source", BUCKET, key)
    with pytest.raises(ConfigurationError, match="is not a key of landing-bucket"):
        store.move(BUCKET, "in/a.csv", key)

    assert sorted(tmp_path.rglob("*")) == before
    assert keys(store, "") == ["in/a.csv"]


@pytest.mark.parametrize("bucket", ["", "..", ".hidden", "a/b"])
def test_a_bucket_name_is_one_visible_folder(store: Lake, bucket: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a bucket name"):
        list(store.list_objects(bucket))


# --- plain files -------------------------------------------------------------------------------------------


def test_a_key_is_a_plain_file(tmp_path: Path) -> None:
    """A person can drop a file in and poll_zone at results with ordinary tools."""
    lake = LocalLake(tmp_path / "lake")
    dropped = tmp_path / "lake" / BUCKET / "in" / "dropped file.csv"
    dropped.parent.mkdir(parents=True)
    dropped.write_text("by hand")

    (landed,) = lake.list_objects(BUCKET, "in/")

    assert landed.uri == f"lake://{BUCKET}/in/dropped file.csv"
    assert lake.fetch(landed, tmp_path) == dropped


def test_a_home_written_with_dots_is_the_same_home(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    lake = LocalLake(tmp_path / "elsewhere" / ".." / "lake")
    (tmp_path / "source").write_text("x")

    lake.publish(tmp_path / "source", BUCKET, "in/a.csv")

    assert (tmp_path / "lake" / BUCKET / "in" / "a.csv").read_text() == "x"


@pytest.mark.parametrize("key", ["../other-bucket/a.csv", "in/../../../etc/passwd", "/etc/passwd"])
def test_a_uri_cannot_leave_its_bucket(tmp_path: Path, key: str) -> None:
    lake = LocalLake(tmp_path / "lake")

    with pytest.raises(ConfigurationError, match="is not a key of landing-bucket"):
        lake.path(f"lake://{BUCKET}/{key}")


def test_a_file_where_a_folder_is_needed_is_an_error_on_one_line(tmp_path: Path) -> None:
    lake = LocalLake(tmp_path / "lake")
    (tmp_path / "lake" / BUCKET).mkdir(parents=True)
    (tmp_path / "lake" / BUCKET / "in").write_text("a file")
    (tmp_path / "source").write_text("x")

    with pytest.raises(LakeError) as refused:
        lake.publish(tmp_path / "source", BUCKET, "in/a.csv")
    assert_one_line_without_secret(refused.value, "writing", "in/a.csv")


def test_a_deleted_prefix_leaves_no_folder_behind_and_takes_no_other(tmp_path: Path) -> None:
    """A person's empty folder in the landing zone stays, and so do empty folders beside the prefix."""
    lake, bucket = LocalLake(tmp_path / "lake"), tmp_path / "lake" / BUCKET
    for folder in ("in/empty", "staging/b2/by-hand", "staging/b1/never/filled"):
        (bucket / folder).mkdir(parents=True)
    for key in ("staging/b1/x", "staging/b1/deep/er/y", "in/a.csv"):
        (tmp_path / "source").write_text("x")
        lake.publish(tmp_path / "source", BUCKET, key)

    assert lake.delete_prefix(BUCKET, "staging/b1/") == 2
    lake.delete([lake.uri(BUCKET, "in/a.csv")])

    assert sorted(str(path.relative_to(bucket)) for path in bucket.rglob("*")) == [
        "in",
        "in/empty",
        "staging",
        "staging/b2",
        "staging/b2/by-hand",
    ]
    lake.remove_empty_folders(BUCKET, "staging/b2/")
    assert sorted(path.name for path in bucket.iterdir()) == ["in"]


def test_a_folder_that_is_removed_while_a_file_is_written_into_it_is_made_again(tmp_path: Path) -> None:
    lake, done = LocalLake(tmp_path / "lake"), threading.Event()

    def remove() -> None:
        while not done.is_set():
            lake.remove_empty_folders(BUCKET, "staging/b/deep/")

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        for number in range(100):
            (tmp_path / "source").write_text("x")
            uri = lake.publish(tmp_path / "source", BUCKET, f"staging/b/deep/{number}")
            moved = lake.move(BUCKET, f"staging/b/deep/{number}", f"staging/b/deep/er/{number}")
            assert lake.head(uri) is None
            lake.delete([moved])
    finally:
        done.set()
        remover.join()


# --- S3 ----------------------------------------------------------------------------------------------------


def test_a_folder_made_in_the_console_is_no_object(s3: object, s3_url: str) -> None:
    """obstore lists the marker `in/sub/` as `in/sub`, which can never be read: it would be requeued for ever."""
    for key in ("in/", "in/sub/", "in/sub/a.csv"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")  # type: ignore[attr-defined]

    assert keys(S3Lake(region=REGION, endpoint_url=s3_url)) == ["in/sub/a.csv"]


@pytest.mark.parametrize("key", ["in//a.csv", "in/a\tb.csv", "in/a\x7f.csv", "in/./a.csv", "in/../a.csv"])
def test_a_key_that_no_request_can_name_is_listed_as_foreign_among_many(s3: object, s3_url: str, key: str) -> None:
    """The listing goes on after it, and ends where it would without it."""
    lake = S3Lake(region=REGION, endpoint_url=s3_url)
    others = [f"in/{number:04}.csv" for number in range(3)] + ["in/~last.csv", "in/ä b%41.csv"]
    for each in (key, *others):
        s3.put_object(Bucket=BUCKET, Key=each, Body=b"x")  # type: ignore[attr-defined]
    (foreign,) = [landed for landed in lake.list_objects(BUCKET, "in/") if rejection(landed)]

    assert keys(lake) == sorted([*others, foreign.key])
    assert escaped(key) == foreign.key
    assert sum(batch.num_rows for batch in lake.list_batches(BUCKET, "in/")) == len(others) + 1
    assert [o for o in lake.list_objects(BUCKET, "in/") if rejection(o)] == [foreign]
    with pytest.raises(RejectedObjectError, match="Rename it") as refused:
        lake.fetch(foreign, Path())
    assert "\n" not in str(refused.value)
    for landed in lake.list_objects(BUCKET, "in/"):
        assert rejection(landed) or lake.head(landed.uri) == landed


def test_a_bucket_that_does_not_exist_is_an_error_and_not_empty(s3: object, s3_url: str, tmp_path: Path) -> None:
    """FAULTS 24: a wrong name must not poll_zone like a zone in which nothing landed."""
    lake = S3Lake(region=REGION, endpoint_url=s3_url)
    (tmp_path / "source").write_text("x")

    with pytest.raises(ConfigurationError) as listing:
        list(lake.list_objects("no-such-bucket", "in/"))
    with pytest.raises(ConfigurationError) as writing:
        lake.publish(tmp_path / "source", "no-such-bucket", "in/a.csv")
    assert_one_line_without_secret(listing.value, "no-such-bucket", "NoSuchBucket")
    assert_one_line_without_secret(writing.value, "no-such-bucket", "NoSuchBucket")


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """A store that answers every request with `body`, whatever was asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("s3")
def test_a_body_that_arrives_short_is_an_error(tmp_path: Path) -> None:
    landed = LandedObject(f"s3://{BUCKET}/in/a.csv", "e", 10, datetime(2026, 1, 1, tzinfo=UTC))

    with answering(b"01234") as url, pytest.raises(LakeError, match="5 of 10 bytes arrived"):
        S3Lake(region=REGION, endpoint_url=url).fetch(landed, tmp_path)


def test_a_bucket_prefix_goes_before_every_bucket(s3: object, s3_url: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="in/a.csv", Body=b"x")  # type: ignore[attr-defined]
    lake = S3Lake(region=REGION, endpoint_url=s3_url, bucket_prefix="landing-")

    (landed,) = lake.list_objects("bucket", "in/")

    assert landed.uri == "s3://bucket/in/a.csv"
    assert lake.stage_url("bucket") == f"s3://{BUCKET}/"
