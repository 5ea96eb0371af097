"""Packed archives are whole or absent, the same for the same files, and readable by other programs."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline_assets.errors import ObjectChangedError
from pipeline_assets.lake.archives import ArchiveLimits, RefusedArchiveError, pack, unpack
from pipeline_assets.lake.archives.names import collision, name_problem

ANYTHING = ArchiveLimits(entries=10_000, bytes=2**40, ratio=2000)
_NAMES = st.one_of(
    st.from_regex(r"[a-z0-9_.]{1,12}(/[A-Z0-9 ]{1,8}){0,3}", fullmatch=True),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
).filter(lambda name: not name_problem(name) and not name.endswith("/"))


@pytest.fixture
def files(tmp_path: Path) -> list[tuple[str, Path]]:
    contents = {"movies.csv": b"id,title\n1,Heat\n", "raw/große.bin": os.urandom(300_000), "manifest.json": b""}
    for number, content in enumerate(contents.values()):
        (tmp_path / f"{number}").write_bytes(content)
    return [(name, tmp_path / f"{number}") for number, name in enumerate(contents)]


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.given(contents=st.dictionaries(_NAMES, st.binary(max_size=3000), max_size=6))
def test_what_is_packed_is_unpacked_and_zipfile_reads_it_too(contents: dict[str, bytes]) -> None:
    hypothesis.assume(not collision(contents))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for number, content in enumerate(contents.values()):
            (root / f"{number}").write_bytes(content)

        pack([(name, root / f"{number}") for number, name in enumerate(contents)], root / "a.zip")

        members = unpack(root / "a.zip", root / "members", ANYTHING)
        assert [(member.name, member.path.read_bytes()) for member in members] == [*contents.items()]
        with zipfile.ZipFile(root / "a.zip") as archive:
            assert {info.filename: archive.read(info) for info in archive.infolist()} == contents


def test_equal_files_give_equal_bytes_whenever_and_wherever_they_are_packed(
    files: list[tuple[str, Path]], tmp_path: Path
) -> None:
    pack(files, tmp_path / "one.zip")
    copies = [(name, Path(shutil.copy(path, tmp_path / f"copy-{path.name}"))) for name, path in files]
    for _, path in copies:
        os.utime(path, (0, 0))
        path.chmod(0o600)
    pack(copies, tmp_path / "two.zip")

    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_zip64_values_are_read_by_us_and_by_zipfile(
    files: list[tuple[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline_assets.lake.archives.packing.ZIP64_FROM", 10)
    pack(files, tmp_path / "a.zip")

    members = unpack(tmp_path / "a.zip", tmp_path / "members", ANYTHING)

    assert [member.path.read_bytes() for member in members] == [path.read_bytes() for _, path in files]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert [info.file_size for info in archive.infolist()] == [path.stat().st_size for _, path in files]


@pytest.mark.skipif(not shutil.which("unzip"), reason="Info-ZIP's unzip is not installed")
def test_info_zip_reads_what_is_packed(files: list[tuple[str, Path]], tmp_path: Path) -> None:
    pack(files, tmp_path / "a.zip")

    tested = subprocess.run(["unzip", "-t", tmp_path / "a.zip"], capture_output=True, text=True)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_an_archive_without_files_is_an_archive(tmp_path: Path) -> None:
    pack([], tmp_path / "a.zip")

    assert unpack(tmp_path / "a.zip", tmp_path / "members", ANYTHING) == []


def test_a_failure_leaves_the_archive_that_was_there(files: list[tuple[str, Path]], tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.zip"
    target.parent.mkdir()
    target.write_bytes(b"the one before")

    with pytest.raises(FileNotFoundError):
        pack([*files, ("missing.csv", tmp_path / "missing.csv")], target)

    assert [path.read_bytes() for path in target.parent.iterdir()] == [b"the one before"]


def test_a_file_that_changes_its_size_meanwhile_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(ObjectChangedError):
        pack([("a.txt", Path("/proc/self/status"))], tmp_path / "a.zip")  # its size is stated as 0

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["../a.csv"], "archive_path_traversal"),
        (["a.csv", "a.csv"], "archive_duplicate_name"),
        (["a.csv", "A.csv"], "archive_colliding_name"),
        (["a", "a/b.csv"], "archive_file_as_folder"),
        (["folder/"], "archive_unusable_name"),
    ],
)
def test_names_that_unpack_refuses_are_not_packed(
    names: list[str], code: str, files: list[tuple[str, Path]], tmp_path: Path
) -> None:
    with pytest.raises(RefusedArchiveError) as refused:
        pack([(name, path) for name, (_, path) in zip(names, files, strict=False)], tmp_path / "a.zip")

    assert refused.value.code == code
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("size", [2**21, 2**24])  # fewer and more blocks than may wait to be written
def test_a_file_that_cannot_be_written_fails_the_archive_and_leaves_nothing(tmp_path: Path, size: int) -> None:
    (tmp_path / "large").write_bytes(os.urandom(size))
    pack([("one.csv", tmp_path / "large"), ("two.csv", tmp_path / "large")], tmp_path / "a.zip")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))  # stands in for a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            unpack(tmp_path / "a.zip", tmp_path / "members", ANYTHING)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "members").iterdir()) == []
