"""Well-formed archives are unpacked, however unusual their form is, and whatever happens nothing else is written."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import zipfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline_assets.lake.archives import ArchiveLimits, Member, RefusedArchiveError, unpack
from pipeline_assets.lake.foreign import has_foreign_name
from pipeline_assets_tests.support.odd_zips import ODD_ARCHIVES
from pipeline_assets_tests.support.zip_attacks import ATTACKS, LIMITS
from pipeline_assets_tests.support.zip_bytes import Part, build, deflated


def unpacked(content: bytes, root: Path, limits: ArchiveLimits = LIMITS) -> list[Member]:
    (root / "delivered.zip").write_bytes(content)
    return unpack(root / "delivered.zip", root / "members", limits)


@pytest.mark.parametrize("form", ODD_ARCHIVES)
def test_a_well_formed_archive_gives_its_files_in_its_order(form: str, tmp_path: Path) -> None:
    content, files = ODD_ARCHIVES[form]

    members = unpacked(content, tmp_path)

    assert {member.name: member.path.read_bytes() for member in members} == files
    for member in members:
        assert member.path == tmp_path / "members" / member.name
        assert member.bytes == len(files[member.name])
        assert member.sha256 == hashlib.sha256(files[member.name]).hexdigest()
    with zipfile.ZipFile(tmp_path / "delivered.zip") as archive:
        listed = [info for info in archive.infolist() if not info.is_dir()]
    assert [member.bytes for member in members] == [info.file_size for info in listed]


def test_created_files_have_the_rights_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        (member,) = unpacked(build(Part(b"a/b", attributes=0o107777 << 16)), tmp_path)
    finally:
        os.umask(before)

    assert stat.S_IMODE(member.path.stat().st_mode) == 0o640


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "members").mkdir()
    (tmp_path / "members" / "mine.csv").write_text("x")

    with pytest.raises(FileExistsError, match="not empty"):
        unpacked(build(Part()), tmp_path)

    assert [path.name for path in (tmp_path / "members").iterdir()] == ["mine.csv"]


def test_files_before_a_damaged_one_do_not_stay(tmp_path: Path) -> None:
    with pytest.raises(RefusedArchiveError):
        unpacked(build(Part(b"a/b.csv"), Part(b"c.csv"), Part(b"d.csv", crc=1)), tmp_path)

    assert list((tmp_path / "members").iterdir()) == []


@pytest.mark.parametrize("size", [2**16, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20])
@pytest.mark.parametrize("method", [0, 8])
def test_files_of_any_size_are_whole(size: int, method: int, tmp_path: Path) -> None:
    for number, content in enumerate((bytes(size), os.urandom(size))):
        root = tmp_path / str(number)
        root.mkdir()
        (member,) = unpacked(build(Part(content=content, method=method)), root, ArchiveLimits(1, 2**30, 1000))
        assert member.path.read_bytes() == content


def test_limits_are_what_is_still_accepted(tmp_path: Path) -> None:
    content = build(Part(b"a", bytes(1000)), Part(b"b", bytes(1000)))
    ratio = 1000 / len(deflated(bytes(1000)))

    def accepted(limits: ArchiveLimits) -> bool:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            try:
                return bool(unpacked(content, Path(folder), limits))
            except RefusedArchiveError:
                return False

    assert accepted(ArchiveLimits(2, 2000, ratio, ratio_from=0))
    assert not accepted(ArchiveLimits(1, 2000, ratio, ratio_from=0))
    assert not accepted(ArchiveLimits(2, 1999, ratio, ratio_from=0))
    assert not accepted(ArchiveLimits(2, 2000, ratio - 0.01, ratio_from=0))
    assert accepted(ArchiveLimits(2, 2000, 1, ratio_from=2000))
    assert not accepted(ArchiveLimits(2, 2000, 1, ratio_from=1999))  # both files together


# --- anything at all ----------------------------------------------------------------------------------------

_VALUES = [b"\0", b"\xff", b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"PK\x05\x06", b"PK\x01\x02", b"../"]


@cache
def _small_archives() -> list[bytes]:
    """Those to begin with; not made on import, as the large ones among them take more than a second."""
    contents = [content for content, _ in ODD_ARCHIVES.values()] + [build() for _, build in ATTACKS.values()]
    return [content for content in contents if len(content) < 2000]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An archive with a few bytes changed, inserted, removed or repeated, mostly near a signature."""
    content = bytearray(draw(st.sampled_from(_small_archives())))
    signatures = [at for at in range(len(content)) if content.startswith(b"PK", at)] or [0]
    for _ in range(draw(st.integers(1, 4))):
        near = draw(st.sampled_from(signatures)) + draw(st.integers(0, 60))
        at = min(draw(st.sampled_from([near, draw(st.integers(0, len(content)))])), len(content))
        length = draw(st.sampled_from([0, 1, 2, 4, 8, 30]))
        piece = draw(st.one_of(st.sampled_from(_VALUES), st.binary(max_size=8)))
        match draw(st.sampled_from(["overwrite", "insert", "remove", "repeat", "cut"])):
            case "overwrite":
                content[at : at + len(piece)] = piece
            case "insert":
                content[at:at] = piece
            case "remove":
                del content[at : at + length]
            case "repeat":
                content[at:at] = content[max(0, at - length) : at]
            case "cut":
                del content[at:]
    return bytes(content)


@hypothesis.settings(max_examples=200, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(content=mutated())
def test_whatever_an_archive_contains_it_is_refused_or_read_as_by_zipfile(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        try:
            members = unpacked(content, root)
        except RefusedArchiveError:
            members = []
        files = {path for path in root.rglob("*") if not path.is_dir()}
        assert files == {root / "delivered.zip"} | {member.path for member in members}
        assert all(path.is_relative_to(root / "members") for path in files - {root / "delivered.zip"})
        if not members:
            return
        assert not any(has_foreign_name(member.name) for member in members)
        # zipfile refuses versions that are too new.
        with suppress(NotImplementedError), zipfile.ZipFile(root / "delivered.zip") as archive:
            listed = [info for info in archive.infolist() if not info.is_dir()]
            assert [member.path.read_bytes() for member in members] == [archive.read(info) for info in listed]


@hypothesis.settings(deadline=None)
@hypothesis.given(form=st.sampled_from([*ODD_ARCHIVES]), data=st.data())
def test_an_archive_that_is_cut_anywhere_is_refused(form: str, data: st.DataObject) -> None:
    content, _ = ODD_ARCHIVES[form]
    end = data.draw(st.integers(0, len(content) - 1))
    with tempfile.TemporaryDirectory() as name, pytest.raises(RefusedArchiveError):
        unpacked(content[:end], Path(name))
