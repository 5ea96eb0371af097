"""Memory and disk are bounded, whatever an archive contains or states; and archives that need zip64."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from pipeline_assets.lake.archives import ArchiveLimits, RefusedArchiveError, pack, unpack
from pipeline_assets_tests.support.zip_attacks import ATTACKS
from pipeline_assets_tests.support.zip_bytes import Part, build, deflated_zeros

_MEGABYTES = 100  # the promise is 300
_ANY_FILE = 2**40  # bytes
_UNPACK = """
import re, resource, sys
from pathlib import Path
from pipeline_assets.lake.archives import ArchiveLimits, RefusedArchiveError, unpack
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
for archive in sorted(Path(sys.argv[1]).glob("*.zip")):
    try:
        members = unpack(archive, archive.with_suffix(""), ArchiveLimits(*map(int, sys.argv[3:])))
        result = sum(member.bytes for member in members)
    except RefusedArchiveError as error:
        result = error.code
    print(result, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def unpacked(folder: Path, *limits: int, file_bytes: int = _ANY_FILE) -> tuple[list[str], float]:
    """What became of each archive of a folder, and the peak memory in MB of a process that may write so large files."""
    done = subprocess.run(
        [sys.executable, "-c", _UNPACK, folder, *map(str, (file_bytes, *limits))],
        capture_output=True,
        text=True,
        check=True,
    )
    results, peaks = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    return list(results), max(map(int, peaks)) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_every_attack_is_refused_in_little_memory_and_on_little_disk(tmp_path: Path) -> None:
    for number, (code, content) in enumerate(ATTACKS.values()):
        (tmp_path / f"{number:03}-{code}.zip").write_bytes(content())

    results, peak = unpacked(tmp_path, 1000, 2**30, 200, file_bytes=2**20)

    assert results == [code for code, _ in ATTACKS.values()]
    assert peak < _MEGABYTES


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_directory_of_long_names_is_refused_before_they_are_kept(tmp_path: Path) -> None:
    one = build(Part(b"n" * 60_000))
    start = one.index(b"PK\x01\x02")
    directory = one[start:-22] * 1000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(directory), start, 0)
    (tmp_path / "1.zip").write_bytes(one[:start] + directory + end)

    results, peak = unpacked(tmp_path, 1000, 2**30, 200)

    assert results == ["archive_unusable_name"]
    assert peak < _MEGABYTES


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_what_the_limits_admit_is_unpacked_in_little_memory(tmp_path: Path) -> None:
    zeros, name = 200 * 2**20, b"n" * 200
    crc = 0
    for _ in range(200):
        crc = zlib.crc32(bytes(2**20), crc)
    (tmp_path / "1.zip").write_bytes(build(Part(b"zeros", b"", data=deflated_zeros(200), size=zeros, crc=crc)))
    (tmp_path / "2.zip").write_bytes(
        build(*(Part(name + b"%d" % number, b"", method=0, comment=b"c" * 2000) for number in range(5000)))
    )

    results, peak = unpacked(tmp_path, 10_000, 2**30, 2000)

    assert results == [str(zeros), "0"]
    assert peak < _MEGABYTES


def test_65535_files_are_packed_with_zip64_and_more_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    pack([(f"{number}", tmp_path / "empty") for number in range(2**16 - 1)], tmp_path / "many.zip")

    with zipfile.ZipFile(tmp_path / "many.zip") as archive:
        assert len(archive.infolist()) == 2**16 - 1
    assert b"PK\x06\x07" in (tmp_path / "many.zip").read_bytes()[-50:]
    with pytest.raises(RefusedArchiveError, match=r"65,535 entries, more than 10,000\..*PIPELINE_ARCHIVE_MAX_ENTRIES"):
        unpack(tmp_path / "many.zip", tmp_path / "members", ArchiveLimits(10_000, 2**30, 200))
