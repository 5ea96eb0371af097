"""The manifest of an archive: written and read again, its old form, and every way in which an archive differs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_assets.errors import RejectedObjectError
from pipeline_assets.movies.columns import COLUMNS
from pipeline_assets.movies.manifest import Manifest, ManifestFile, read_manifest, verify, write_manifest

CSV = ManifestFile("movies.csv", "csv", 100, "a" * 64, 3)
PARQUET = ManifestFile("movies.parquet", "parquet", 200, "b" * 64, 3)
MANIFEST = Manifest("sqlite:movies.db", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "imdbID", COLUMNS, 3, (CSV, PARQUET))
OLD = {
    "source": "OMDb",
    "total_movies": 3,
    "columns": str(list(COLUMNS)),
    "primary_key": "imdbID",
    "max_rating": "9.3",
    "min_rating": "N/A",
    "description": "Movies",
}


@dataclass(frozen=True)
class Unpacked:
    name: str
    bytes: int
    sha256: str
    path: Path = Path("unused")


MEMBERS = [Unpacked(file.name, file.bytes, file.sha256) for file in MANIFEST.files]


def of(document: object) -> bytes:
    return json.dumps(document).encode()


def new(**changes: object) -> dict:
    return json.loads(write_manifest(MANIFEST)) | changes


def three(_: str) -> int:
    return 3


text = st.text(min_size=1, max_size=30).filter(str.strip)
counts = st.integers(0, 10**12)
files = st.builds(
    ManifestFile,
    text,
    st.sampled_from(["csv", "parquet"]),
    counts,
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    counts,
)
manifests = st.builds(
    Manifest,
    text,
    st.datetimes(timezones=st.just(UTC)),
    st.just("imdbID"),
    st.lists(text, unique=True, max_size=30).map(lambda names: tuple(dict.fromkeys(["imdbID", *names]))),
    counts,
    st.lists(files, min_size=1, max_size=5, unique_by=lambda file: file.name).map(tuple),
)


@given(manifests)
def test_a_manifest_that_is_written_and_read_is_the_same(manifest: Manifest) -> None:
    assert read_manifest(write_manifest(manifest)) == manifest


def test_times_are_in_utc_with_a_z() -> None:
    assert new()["created_at"] == "2026-01-02T03:04:05Z"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_are_rejected(data: bytes) -> None:
    with pytest.raises(RejectedObjectError) as raised:
        read_manifest(data)
    assert raised.value.code == "manifest_mismatch"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(new())), json_values), st.booleans())
def test_any_values_make_a_manifest_or_are_rejected_in_one_line(changes: dict, old: bool) -> None:
    try:
        read = read_manifest(of((OLD if old else new()) | changes))
    except RejectedObjectError as error:
        rejected = error
    else:
        assert read.primary_key in read.columns
        return
    assert rejected.code == "manifest_mismatch"
    assert str(rejected).isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b"\xff\xfe{}",
        b"",
        b"[]",
        b'{"a": 1, "a": 2}',
        b'{"total_movies": NaN}',
        b"1" * 10_000,
        of(new(columns="[" * 5_000 + "]" * 5_000)),
        of(new(columns="__import__('os')")),
        of(new(columns="x" * 20_000)),
        of(new(total_movies=True)),
        of(new(total_movies=-1)),
        of(new(total_movies="9" * 30)),
        of(new(created_at="2026-01-02T03:04:05")),
        of(new(created_at=None)),
        of(new(created_at="0001-01-01T00:00:00+23:00")),
        of(new(primary_key="other")),
        of(new(files=[])),
        of(new(files=[{}])),
        of(new(files=[new()["files"][0]] * 2)),
        of(new(files=[new()["files"][0] | {"sha256": "x" * 64}])),
        of(new(files=[new()["files"][0] | {"format": "exe"}])),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_no_manifest_is_rejected(data: bytes) -> None:
    with pytest.raises(RejectedObjectError, match=r"^The manifest cannot be used: .+\.") as raised:
        read_manifest(data)
    assert raised.value.code == "manifest_mismatch"
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "columns",
    [str(list(COLUMNS)), repr(COLUMNS), f"Index({list(COLUMNS)},\n      dtype='object')", list(COLUMNS)],
    ids=["list", "tuple", "pandas index", "JSON list"],
)
def test_the_old_form_has_its_columns_as_the_text_of_a_list(columns: object) -> None:
    read = read_manifest(b"\xef\xbb\xbf" + of(OLD | {"columns": columns}))
    assert read == Manifest("OMDb", None, "imdbID", COLUMNS, 3)


def test_an_archive_that_agrees_with_its_manifest_passes() -> None:
    verify(MANIFEST, MEMBERS, three)
    verify(read_manifest(of(OLD)), MEMBERS, three)


def test_names_may_be_relative_to_the_folder_of_the_manifest() -> None:
    inside = [replace(member, name=f"export/{member.name}") for member in MEMBERS]
    verify(MANIFEST, inside, three, folder="export/")
    with pytest.raises(RejectedObjectError, match=r"export/movies\.csv is not in the manifest"):
        verify(MANIFEST, inside, three)


@pytest.mark.parametrize(
    ("members", "rows", "reason"),
    [
        (MEMBERS[1:], three, "movies.csv is missing"),
        ([*MEMBERS, Unpacked("run.exe", 1, "c" * 64)], three, "run.exe is not in the manifest"),
        ([replace(MEMBERS[0], bytes=99), MEMBERS[1]], three, "movies.csv has 99 bytes, the manifest states 100"),
        ([replace(MEMBERS[0], sha256="c" * 64), MEMBERS[1]], three, "movies.csv has another SHA-256"),
        (MEMBERS, lambda name: 3 if name == "movies.csv" else 4, "movies.parquet has 4 rows, the manifest states 3"),
    ],
)
def test_each_difference_is_named(members: list, rows: object, reason: str) -> None:
    with pytest.raises(RejectedObjectError, match=reason.replace(".", r"\.")) as raised:
        verify(MANIFEST, members, rows)  # type: ignore[arg-type]
    assert raised.value.code == "manifest_mismatch"


def test_every_difference_is_in_one_message_of_one_line() -> None:
    members = [replace(MEMBERS[0], sha256="c" * 64), Unpacked("a\nb" * 200, 1, "d" * 64)]
    with pytest.raises(RejectedObjectError) as raised:
        verify(MANIFEST, members, three)
    message = str(raised.value)
    assert "movies.csv has another SHA-256" in message
    assert "movies.parquet is missing" in message
    assert "a b" in message
    assert message.isprintable()


def test_a_thousand_differences_are_shown_in_part() -> None:
    extra = [Unpacked(f"file{number}", 1, "c" * 64) for number in range(1000)]
    with pytest.raises(RejectedObjectError, match="and 990 more") as raised:
        verify(MANIFEST, [*MEMBERS, *extra], three)
    assert len(str(raised.value)) < 2000


def test_rows_are_not_counted_in_a_file_whose_bytes_differ() -> None:
    def rows(name: str) -> int:
        assert name == "movies.parquet"
        return 3

    with pytest.raises(RejectedObjectError, match="another SHA-256"):
        verify(MANIFEST, [replace(MEMBERS[0], sha256="c" * 64), MEMBERS[1]], rows)


@pytest.mark.parametrize("form", ["old", "new"])
def test_the_rows_of_each_format_are_the_total(form: str) -> None:
    total = replace(MANIFEST, total_movies=4) if form == "new" else read_manifest(of(OLD | {"total_movies": "4"}))
    with pytest.raises(RejectedObjectError, match="total_movies is 4, the csv files have 3 rows; total"):
        verify(total, MEMBERS, three)


def test_an_old_archive_without_any_file_is_rejected() -> None:
    with pytest.raises(RejectedObjectError, match="no file beside the manifest"):
        verify(read_manifest(of(OLD)), [], three)
