"""Archives: pack and unpack 1 GB of CSV, beside zipfile, Info-ZIP and isal alone.

Imports are late, as in all contenders. What is unpacked was packed by zipfile, as zlib's data is what most senders
deliver.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

from .harness import Bar, Benchmark, Contender

FILES = 5
FILE_BYTES = 200_000_000
SMALL_FILE_BYTES = 30_000_000
_RECORDS = 150_000  # that repeat, 20 MB apart; deflate looks back 32 KB
_WORDS = ("the", "of", "night", "day", "last", "summer", "blood", "love", "river", "king", "lost", "city", "return")
_GENRES = ("Drama", "Comedy", "Crime, Drama", "Action, Adventure, Sci-Fi", "Documentary", "Horror, Mystery")
_MISSING = "N/A"


def make_inputs(inputs: Path, folder: Path) -> None:
    """1 GB."""
    _make_inputs(inputs, FILE_BYTES)


def make_small_inputs(inputs: Path, folder: Path) -> None:
    """150 MB."""
    _make_inputs(inputs, SMALL_FILE_BYTES)


def _make_inputs(inputs: Path, size: int) -> None:
    """Files of movies as CSV, about 130 bytes each, and `movies.zip` with all of them."""
    chosen = random.Random(2024)
    records = "".join(_movie(chosen, number) for number in range(_RECORDS)).encode()
    (inputs / "movies").mkdir()
    with zipfile.ZipFile(inputs / "movies.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(FILES):
            path = inputs / "movies" / f"movies-{number}.csv"
            path.write_bytes((records * (size // len(records) + 1))[:size])
            archive.write(path, path.name)


def _movie(chosen: random.Random, number: int) -> str:
    title = " ".join(chosen.choices(_WORDS, k=chosen.randint(1, 5))).title()
    rating = f"{chosen.uniform(1, 10):.1f}/10" if chosen.random() < 0.8 else _MISSING
    votes = f"{chosen.randint(5, 2_000_000):,}"
    genres, year = chosen.choice(_GENRES), chosen.randint(1920, 2026)
    return (
        f'tt{number:07d},{title},{year},{chosen.randint(60, 200)} min,"{genres}",{_MISSING},{rating},"{votes}",'
        f"https://images.example/{chosen.getrandbits(64):016x}.jpg,{_MISSING},{_MISSING},English\n"
    )


def pack_ours(inputs: Path, folder: Path) -> int:
    from pipeline_assets.lake.archives import pack

    archive = folder / "out" / "movies.zip"
    pack([(path.name, path) for path in sorted((inputs / "movies").iterdir())], archive)
    return archive.stat().st_size


def pack_zipfile(inputs: Path, folder: Path) -> int:
    target = folder / "out" / "movies.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((inputs / "movies").iterdir()):
            archive.write(path, path.name)
    return target.stat().st_size


def pack_info_zip(inputs: Path, folder: Path) -> int:
    target = folder / "out" / "movies.zip"
    subprocess.run(["zip", "--quiet", "--recurse-paths", target, "movies"], cwd=inputs, check=True)
    return target.stat().st_size


def deflate_isal(inputs: Path, folder: Path) -> int:
    """Raw deflate streams, without checksums or an archive."""
    from isal import isal_zlib

    for path in sorted((inputs / "movies").iterdir()):
        deflate = isal_zlib.compressobj(wbits=-15)
        with open(path, "rb") as source, open(folder / "out" / path.name, "wb") as target:
            while block := source.read(2**18):
                target.write(deflate.compress(block))
            target.write(deflate.flush())
    return _size(folder / "out")


def unpack_ours(inputs: Path, folder: Path) -> int:
    from pipeline_assets.lake.archives import ArchiveLimits, unpack

    limits = ArchiveLimits(entries=FILES, bytes=FILES * FILE_BYTES, ratio=100)
    return sum(member.bytes for member in unpack(inputs / "movies.zip", folder / "out", limits))


def unpack_zipfile(inputs: Path, folder: Path) -> int:
    with zipfile.ZipFile(inputs / "movies.zip") as archive:
        archive.extractall(folder / "out")
    return _size(folder / "out")


def unpack_info_zip(inputs: Path, folder: Path) -> int:
    subprocess.run(["unzip", "-q", inputs / "movies.zip", "-d", folder / "out"], check=True)
    return _size(folder / "out")


def inflate_isal(inputs: Path, folder: Path) -> int:
    """The deflate streams of the archive, without checksums, digests or checks."""
    from isal import isal_zlib

    with zipfile.ZipFile(inputs / "movies.zip") as archive, open(inputs / "movies.zip", "rb") as source:
        for info in archive.infolist():
            source.seek(info.header_offset + len(info.FileHeader()))
            inflate, left = isal_zlib.decompressobj(wbits=-15), info.compress_size
            with open(folder / "out" / info.filename, "wb") as target:
                while left:
                    left -= len(block := source.read(min(left, 2**16)))
                    target.write(inflate.decompress(block))
    return _size(folder / "out")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


_OURS = ("pipeline_assets.lake.archives", "isal.isal_zlib")
_ISAL = ("isal.isal_zlib",)


def _contenders(unpacked: int) -> tuple[Contender, ...]:
    """Those whose programs are installed."""
    pack = [
        Contender("ours", pack_ours, imports=_OURS),
        Contender("zipfile", pack_zipfile, bar=Bar("faster", 5)),
        *([Contender("Info-ZIP: zip", pack_info_zip)] if shutil.which("zip") else []),
        Contender("isal alone", deflate_isal, imports=_ISAL),
    ]
    unpack = [
        Contender("ours, with SHA-256", unpack_ours, imports=_OURS),
        Contender("zipfile", unpack_zipfile, bar=Bar("faster", 1.8)),
        *([Contender("Info-ZIP: unzip", unpack_info_zip)] if shutil.which("unzip") else []),
        Contender("isal alone", inflate_isal, imports=_ISAL),
    ]
    return (
        *pack,
        *(replace(contender, table="Unpacking", expected_rows=unpacked) for contender in unpack),
    )


BENCHMARK = Benchmark(
    name="archives",
    title="Archives: pack and unpack 1 GB",
    about="1 GB of movies as CSV in 5 files, packed into an archive, and unpacked from one that zipfile packed. Rows "
    "out are bytes: of the archive in the first table, of the files in the second. Ours includes the examination of "
    "the archive, checksums, fsync of a packed archive, and a SHA-256 of each unpacked file; zipfile and Info-ZIP "
    "verify checksums, isal alone nothing.",
    contenders=_contenders(FILES * FILE_BYTES),
    make_inputs=make_inputs,
    inputs_from=(Path(__file__),),
    small=Benchmark(
        name="archives-small",
        title="Archives: pack and unpack 150 MB",
        about="As with 1 GB, in 5 files of 30 MB.",
        contenders=_contenders(FILES * SMALL_FILE_BYTES),
        make_inputs=make_small_inputs,
        inputs_from=(Path(__file__),),
    ),
)
