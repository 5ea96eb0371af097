"""Memory stays small, whatever an archive contains or states."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from pipeline_assets_tests.support.zip_attacks import ATTACKS
from pipeline_assets_tests.support.zip_bytes import Part, build, deflated_zeros

_MEGABYTES = 100  # the promise is 300
_UNPACK = """
import re, sys
from pathlib import Path
from pipeline_assets.lake.archives import ArchiveLimits, RefusedArchiveError, unpack
for archive in sorted(Path(sys.argv[1]).glob("*.zip")):
    try:
        members = unpack(archive, archive.with_suffix(""), ArchiveLimits(*map(int, sys.argv[2:])))
        result = sum(member.bytes for member in members)
    except RefusedArchiveError as error:
        result = error.code
    print(result, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def unpacked(folder: Path, *limits: int) -> tuple[list[str], float]:
    """What became of each archive of a folder in a process of its own, and its peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", _UNPACK, folder, *map(str, limits)], capture_output=True, text=True, check=True
    )
    results, peaks = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    return list(results), max(map(int, peaks)) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_every_attack_is_refused_in_little_memory(tmp_path: Path) -> None:
    for number, (code, content) in enumerate(ATTACKS.values()):
        (tmp_path / f"{number:03}-{code}.zip").write_bytes(content())

    results, peak = unpacked(tmp_path, 1000, 2**30, 200)

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
