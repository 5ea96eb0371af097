"""Archives that must be refused, by what is wrong with them: (reason code, bytes)."""

from __future__ import annotations

import gzip
import hashlib
import stat
import struct
import zlib
from collections.abc import Callable

from pipeline_assets.lake.archives import ArchiveLimits
from pipeline_assets_tests.support.zip_bytes import (
    CONTENT,
    DESCRIPTOR,
    LONG,
    SHORT,
    UTF8,
    Part,
    build,
    deflated,
    deflated_zeros,
    local_header,
    zip64,
)

LIMITS = ArchiveLimits(entries=1000, bytes=2**30, ratio=200)
_GOOD = build(Part())
_CRC = zlib.crc32(CONTENT)
_BLOCK = bytes(2**16 - 5)  # with its header as much as is read at a time
_START = 60  # of the data behind a local header with zip64 values
_ENCLOSED = Part(b"inner.csv")
_END_RECORD = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, 0, 0, 0)


def _named(*names: bytes, flags: int = UTF8) -> bytes:
    return build(*(Part(name, flags=flags) for name in names))


def _text(*names: str) -> bytes:
    return _named(*(name.encode() for name in names))


def _mode(mode: int, name: bytes = b"movies.csv") -> bytes:
    return build(Part(name, b"", method=0, attributes=(mode | 0o777) << 16))


def _both(**stated: int) -> bytes:
    return build(Part(local=stated, central=stated))


def _many(number: int, **end: int) -> bytes:
    """Entries without content; from 65,535 on with zip64."""
    parts = [Part(b"%d" % name, b"", method=0) for name in range(number)]
    return build(*parts, end=end, zip64_end={} if number >= SHORT else None)


def _unicode_path(checksum: int) -> bytes:
    path = struct.pack("<BL", 1, checksum) + b"other.csv"
    extra = struct.pack("<2H", 0x7075, len(path)) + path
    return build(Part(local_extra=extra, central_extra=extra))


_BUILDERS: dict[str, dict[str, Callable[[], bytes]]] = {
    "archive_not_zip": {
        "nothing": lambda: b"",
        "a CSV file": lambda: CONTENT,
        "a gzip file": lambda: gzip.compress(CONTENT),
        "zeros": lambda: bytes(100_000),
    },
    "archive_truncated": {
        "the end is cut off": lambda: _GOOD[:-1],
        "the directory is cut off": lambda: _GOOD[:-60],
        "a comment is cut off": lambda: build(Part(), comment=b"from the studio")[:-3],
        "bytes in the middle are missing": lambda: _GOOD[:40] + _GOOD[50:],
        "only a local header": lambda: _GOOD[:20],
        "the directory is larger than the file": lambda: build(Part(), end={"size": 2**31}),
        "the directory is behind the file": lambda: build(Part(), end={"offset": 2**31}),
        "zip64 places the directory beyond any file": lambda: build(
            Part(), zip64_end={"offset": 2**64 - 1}, end={"offset": LONG}
        ),
    },
    "archive_damaged": {
        "a record of the directory is no entry": lambda: _GOOD.replace(b"PK\x01\x02", b"PK\x01\x03"),
        "fewer entries than stated": lambda: build(Part(), end={"here": 2, "count": 2}),
        "more entries than stated": lambda: build(Part(), Part(b"b.csv"), end={"here": 1, "count": 1}),
        "20,000 entries, and ten stated": lambda: _many(20_000, here=10, count=10),
        "extra fields longer than their space": lambda: build(Part(central_extra=b"\x55\x54\xff\x00ab")),
        "zip64 twice": lambda: build(Part(central_extra=zip64(len(CONTENT)) * 2)),
    },
    "archive_corrupt_data": {
        "not deflated": lambda: build(Part(data=b"\xff" * 40)),
        "data that ends too early": lambda: build(Part(data=deflated(CONTENT)[:-4])),
        "no data": lambda: build(Part(data=b"")),
    },
    "archive_checksum_mismatch": {
        "deflated": lambda: build(Part(crc=_CRC ^ 1)),
        "stored": lambda: build(Part(method=0, crc=0)),
        "other bytes": lambda: build(Part(data=deflated(CONTENT.replace(b"Heat", b"Meat")))),
    },
    "archive_multi_disk": {
        "the end is on the second disk": lambda: build(Part(), end={"disk": 1}),
        "the directory is on the second disk": lambda: build(Part(), end={"directory_disk": 1}),
        "some entries are on another disk": lambda: build(Part(), end={"count": 2}),
        "an entry is on the second disk": lambda: build(Part(central={"disk": 1})),
        "two disks in zip64": lambda: build(Part(), locator={"disks": 2}),
        "the zip64 end is on the second disk": lambda: build(Part(), locator={"disk": 1}),
    },
    "archive_zip64_mismatch": {
        "no zip64 value": lambda: build(Part(central={"size": LONG})),
        "too few zip64 values": lambda: build(
            Part(central={"size": LONG, "packed": LONG}, central_extra=zip64(len(CONTENT)))
        ),
        "values that nothing asks for": lambda: build(Part(central_extra=zip64(2**40))),
        "a cut value": lambda: build(Part(central_extra=b"\x01\x00\x04\x00abcd")),
        "the two end records disagree": lambda: build(Part(), zip64_end={"count": 2, "here": 2}),
        "the locator points elsewhere": lambda: build(Part(), locator={"offset": 0}),
        "a damaged zip64 end": lambda: build(Part(), zip64_end={}).replace(b"PK\x06\x06", b"PK\x06\x05"),
        "a record of another length": lambda: build(Part(), zip64_end={"rest": 60}),
    },
    "archive_ambiguous_end": {
        "a second end in the comment": lambda: build(Part(), comment=_END_RECORD),
        "a signature in the comment": lambda: build(Part(), comment=b"see PK\x05\x06"),
    },
    "archive_stray_bytes": {
        "a program before the archive": lambda: b"MZ program" + _GOOD,
        "a program, with offsets that count it": lambda: build(Part(before=b"MZ program")),
        "bytes between entries": lambda: build(Part(), Part(b"b.csv", before=b"hidden")),
        "an entry that the directory leaves out": lambda: build(Part(b"a.csv"), Part(b"hidden.csv", listed=False)),
        "bytes before the directory": lambda: build(Part(), before_directory=b"hidden"),
        "bytes after the end": lambda: build(Part(), after=b"hidden"),
        "bytes after the comment": lambda: build(Part(), comment=b"ok", after=b"hidden"),
        "bytes after the deflated data": lambda: build(Part(data=deflated(CONTENT) + b"hidden")),
        "blocks after the deflated data": lambda: build(Part(data=deflated(CONTENT) + bytes(300_000))),
        "bytes after deflated data that fills a block": lambda: build(
            Part(content=_BLOCK, data=struct.pack("<B2H", 1, len(_BLOCK), ~len(_BLOCK) & SHORT) + _BLOCK + b"hidden")
        ),
        "a descriptor that nothing announces": lambda: build(Part(descriptor=b"PK\x07\x08" + bytes(12))),
        "an announced descriptor is missing": lambda: build(Part(flags=DESCRIPTOR)),
        "a folder with content": lambda: build(Part(b"folder/", attributes=0)),
        "a folder that states content": lambda: build(Part(b"folder/", b"", method=0, attributes=0, size=5)),
        "a folder with packed content": lambda: build(Part(b"folder/", attributes=0, size=0)),
    },
    "archive_overlap": {
        "two entries, one local header": lambda: build(Part(), Part(at=0, name=b"b.csv")),
        "an entry in the data of another": lambda: build(
            Part(b"outer.csv", content=local_header(_ENCLOSED) + _ENCLOSED.packed_data(), method=0),
            Part(b"inner.csv", central={"offset": 39}),
        ),
        "data that reaches into the next entry": lambda: build(
            Part(local={"packed": 60}, central={"packed": 60}), Part(b"b.csv")
        ),
        "data up to a local header beyond any file": lambda: build(
            Part(
                local={"packed": LONG, "size": LONG},
                central={"packed": LONG},
                local_extra=zip64(len(CONTENT), 2**64 - 1 - _START),
                central_extra=zip64(2**64 - 1 - _START),
            ),
            Part(b"b.csv", central={"offset": LONG}, central_extra=zip64(2**64 - 1)),
        ),
        "data that reaches into the directory": lambda: _both(packed=60),
        "data beyond any file": lambda: build(
            Part(
                local={"packed": LONG, "size": LONG},
                central={"packed": LONG},
                local_extra=zip64(len(CONTENT), 2**63),
                central_extra=zip64(2**63),
            )
        ),
    },
    "archive_header_mismatch": {
        "another name": lambda: build(Part(local_name=b"others.csv")),
        "a name in another encoding": lambda: build(Part("ü.csv".encode(), local_name="ü.csv".encode("cp437"))),
        "a name in another case": lambda: build(Part(local_name=b"Movies.csv")),
        "another method": lambda: build(Part(local={"method": 0})),
        "another checksum": lambda: build(Part(local={"crc": 1})),
        "another size": lambda: build(Part(local={"size": 1})),
        "another packed size": lambda: build(Part(local={"packed": 1})),
        "sizes of 0 without descriptor": lambda: build(Part(local={"size": 0, "packed": 0, "crc": 0})),
        "other flags": lambda: build(Part(local={"flags": UTF8})),
        "encrypted before the data only": lambda: build(Part(local={"flags": 1})),
        "no local header": lambda: _GOOD.replace(b"PK\x03\x04", b"PK\x03\x05"),
        "another descriptor": lambda: build(
            Part(flags=DESCRIPTOR, descriptor=struct.pack("<4s3L", b"PK\x07\x08", _CRC, 1, len(CONTENT)))
        ),
        "a Unicode path of another name": lambda: _unicode_path(1),
        "another local Unicode path": lambda: _unicode_path(zlib.crc32(b"movies.csv")).replace(b"other", b"3rd__", 1),
    },
    "archive_size_mismatch": {
        "a bomb that states few bytes": lambda: build(Part(content=b"", data=deflated_zeros(4096), size=1000)),
        "more bytes than stated": lambda: build(Part(size=len(CONTENT) - 1)),
        "fewer bytes than stated": lambda: build(Part(size=len(CONTENT) + 1)),
        "stored with two sizes": lambda: build(Part(method=0, size=5)),
    },
    "archive_encrypted": {
        "with a password": lambda: _both(flags=0x1),
        "strongly": lambda: _both(flags=0x40),
        "the directory": lambda: _both(flags=0x2000),
        "with AES": lambda: _both(method=99),
    },
    "archive_unsupported_method": {
        "deflate64": lambda: _both(method=9),
        "bzip2": lambda: _both(method=12),
        "LZMA": lambda: _both(method=14),
        "no method": lambda: _both(method=SHORT),
        "patch data": lambda: _both(flags=0x20),
    },
    "archive_special_file": {
        "a symbolic link": lambda: _mode(stat.S_IFLNK),
        "a symbolic link as folder": lambda: _mode(stat.S_IFLNK, b"link/"),
        "a pipe": lambda: _mode(stat.S_IFIFO),
        "a socket": lambda: _mode(stat.S_IFSOCK),
        "a block device": lambda: _mode(stat.S_IFBLK),
        "a character device": lambda: _mode(stat.S_IFCHR),
        "a folder with the name of a file": lambda: _mode(stat.S_IFDIR),
        "a file with the name of a folder": lambda: _mode(stat.S_IFREG, b"folder/"),
    },
    "archive_too_many_entries": {
        "one more than the limit": lambda: _many(LIMITS.entries + 1),
        "100,000 entries": lambda: _many(100_000, here=SHORT, count=SHORT),
        "billions, stated only": lambda: build(
            Part(), zip64_end={"here": 2**40, "count": 2**40}, end={"here": SHORT, "count": SHORT}
        ),
    },
    "archive_too_many_bytes": {
        "a bomb of 4 GiB": lambda: build(Part(content=b"", data=deflated_zeros(4096), size=LONG - 1)),
        "many files of some bytes": lambda: build(*(Part(b"%d" % number, size=2**28) for number in range(5))),
        "2^40 bytes, stated with a descriptor": lambda: build(
            Part(
                flags=DESCRIPTOR,
                descriptor=struct.pack("<4sL2Q", b"PK\x07\x08", _CRC, len(deflated(CONTENT)), 2**40),
                local={"crc": 0, "packed": 0, "size": 0},
                central={"size": LONG},
                central_extra=zip64(2**40),
            )
        ),
        "2^63 bytes, stated only": lambda: build(
            Part(
                local={"packed": LONG, "size": LONG},
                central={"size": LONG},
                local_extra=zip64(2**63, len(deflated(CONTENT))),
                central_extra=zip64(2**63),
            )
        ),
    },
    "archive_extreme_ratio": {
        "1:1000": lambda: build(Part(content=b"", data=deflated_zeros(64), size=2**26)),
        "1:1000 in files below the threshold": lambda: build(
            *(Part(b"%d" % number, b"", data=deflated_zeros(4), size=2**22) for number in range(16))
        ),
        "1:1000 beside what cannot be packed": lambda: build(
            Part(content=b"", data=deflated_zeros(64), size=2**26),
            Part(b"b.csv", hashlib.shake_256(b"").digest(2**20)),
        ),
        "much from nothing": lambda: build(Part(content=b"", data=b"", size=2**26)),
    },
    "archive_path_traversal": {
        name: lambda name=name: _text(name) for name in ("../a.csv", "a/../../b.csv", "..", "a/..", "a/../", "../")
    },
    "archive_absolute_name": {
        name: lambda name=name: _text(name) for name in ("/etc/passwd", "//server/share/a.csv", "/", "/../a.csv")
    },
    "archive_drive_letter": {
        name: lambda name=name: _text(name) for name in ("C:/a.csv", "c:a.csv", "C:", "a/D:/b.csv")
    },
    "archive_backslash": {
        name: lambda name=name: _text(name)
        for name in ("a\\b.csv", "..\\a.csv", "\\\\server\\share\\a.csv", "C:\\a.csv", "\\a.csv")
    },
    "archive_control_character": {
        repr(name): lambda name=name: _text(name)
        for name in ("a.csv\0.txt", "\0", "a\nb", "a\x1b[2Jb", "a\x7f", "a\x85b", "a\u2028b", "a\u202evsc.exe")
    },
    "archive_unusable_name": {
        "an empty name": lambda: _text(""),
        "an empty part": lambda: _text("a//b.csv"),
        "a point as part": lambda: _text("./a.csv"),
        "only a point": lambda: _text("."),
        "a part of 256 bytes": lambda: _text("é" * 128),
        "a name of 1,025 bytes": lambda: _text("/".join(["a" * 204] * 5) + "a"),
        "17 parts": lambda: _text("/".join("abcdefghijklmnopq")),
        "a device": lambda: _text("CON"),
        "a device with extension": lambda: _text("raw/aux.tar.gz"),
        "a device with a digit": lambda: _text("lpt1/a.csv"),
        "a point at the end": lambda: _text("a./b.csv"),
        "a blank at the end": lambda: _text("a.csv "),
        "not UTF-8": lambda: _named(b"caf\xe9.csv"),
    },
    "archive_duplicate_name": {
        "twice": lambda: _text("a.csv", "b.csv", "a.csv"),
        "in a folder": lambda: _text("a/b.csv", "a/b.csv"),
    },
    "archive_colliding_name": {
        "case": lambda: _text("a.csv", "A.CSV"),
        "case of a folder": lambda: _text("raw/a.csv", "Raw/a.csv"),
        "sharp s": lambda: _text("straße.csv", "STRASSE.csv"),
        "normalization": lambda: _text("\u00e9.csv", "e\u0301.csv"),
        "the sign of Angstrom": lambda: _text("\u212b.csv", "\u00c5.csv"),
    },
    "archive_file_as_folder": {
        "a file and its folder": lambda: _text("a", "a/b.csv"),
        "the other way round": lambda: _text("a/b/c.csv", "a"),
        "in another case": lambda: _text("A", "a/b.csv"),
        "beside a folder entry": lambda: build(Part(b"a"), Part(b"a/", b"", method=0, attributes=0)),
    },
}

ATTACKS: dict[str, tuple[str, Callable[[], bytes]]] = {
    f"{code.removeprefix('archive_')}: {what}": (code, builder)
    for code, builders in _BUILDERS.items()
    for what, builder in builders.items()
}
