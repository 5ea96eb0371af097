"""Zip archives built byte by byte: any header can state anything."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

CONTENT = b"id,title\n1,Heat\n2,Ran\n"
UTF8, DESCRIPTOR = 0x800, 0x8
LONG, SHORT = 0xFFFFFFFF, 0xFFFF


def deflated(content: bytes) -> bytes:
    """A raw deflate stream."""
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


def deflated_zeros(mebibytes: int) -> bytes:
    """A raw deflate stream of that many MiB of zeros, without ever holding them; about 1:1000."""
    compressor = zlib.compressobj(9, wbits=-15)
    first = compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return first * mebibytes + zlib.compressobj(9, wbits=-15).flush()


def zip64(*values: int) -> bytes:
    """A zip64 extra field of 8-byte values."""
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values)


@dataclass
class Part:
    """An entry. `local` and `central` replace what the headers state by the field's name; `at` is another local header.

    Fields: version, flags, method, crc, packed, size; in the directory also made_by, disk, attributes, offset.
    """

    name: bytes = b"movies.csv"
    content: bytes = CONTENT
    method: int = 8
    flags: int = 0
    data: bytes | None = None
    crc: int | None = None
    size: int | None = None
    made_by: int = 3 << 8 | 20
    attributes: int = 0o100644 << 16
    local_extra: bytes = b""
    central_extra: bytes = b""
    comment: bytes = b""
    descriptor: bytes = b""
    before: bytes = b""
    local_name: bytes | None = None
    local: Mapping[str, int] = field(default_factory=dict)
    central: Mapping[str, int] = field(default_factory=dict)
    listed: bool = True
    at: int | None = None  # the number of the part whose local header the directory names

    def stated(self) -> dict[str, int]:
        data = self.packed_data()
        return {
            "version": 20,
            "flags": self.flags,
            "method": self.method,
            "crc": zlib.crc32(self.content) if self.crc is None else self.crc,
            "packed": len(data),
            "size": len(self.content) if self.size is None else self.size,
        }

    def packed_data(self) -> bytes:
        if self.data is not None:
            return self.data
        return deflated(self.content) if self.method == 8 else self.content


def build(
    *parts: Part,
    comment: bytes = b"",
    before_directory: bytes = b"",
    after: bytes = b"",
    end: Mapping[str, int] | None = None,
    zip64_end: Mapping[str, int] | None = None,
    locator: Mapping[str, int] | None = None,
) -> bytes:
    """An archive. `end` replaces fields of the end record; with `zip64_end` or `locator` there is a zip64 one, too."""
    content, directory, offsets = bytearray(), bytearray(), []
    for part in parts:
        content += part.before
        offsets.append(len(content))
        content += local_header(part) + part.packed_data() + part.descriptor
    for number, part in enumerate(parts):
        if part.listed:
            directory += _central_header(part, offsets[number if part.at is None else part.at])
    content += before_directory
    count = sum(part.listed for part in parts)
    fields = {"disk": 0, "directory_disk": 0, "here": count, "count": count}
    fields |= {"size": len(directory), "offset": len(content)}
    content += directory
    if zip64_end is not None or locator is not None:
        position = len(content)
        long = {"rest": 44, "made_by": 45, "version": 45} | fields | (zip64_end or {})
        content += struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", *long.values())
        where = {"disk": 0, "offset": position, "disks": 1} | (locator or {})
        content += struct.pack("<4sLQL", b"PK\x06\x07", *where.values())
    fields |= end or {}
    content += struct.pack("<4s4H2LH", b"PK\x05\x06", *fields.values(), len(comment))
    return bytes(content + comment + after)


def local_header(part: Part) -> bytes:
    stated = part.stated() | part.local
    name = part.name if part.local_name is None else part.local_name
    version, flags, method, crc, packed, size = (stated[each] for each in part.stated())
    return (
        struct.pack(
            "<4s5H3L2H", b"PK\x03\x04", version, flags, method, 0, 0x21, crc, packed, size, len(name),
            len(part.local_extra),
        )
        + name
        + part.local_extra
    )  # fmt: skip


def _central_header(part: Part, offset: int) -> bytes:
    stated = {"made_by": part.made_by, "disk": 0, "attributes": part.attributes, "offset": offset}
    stated |= part.stated() | part.central
    return (
        struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", stated["made_by"], stated["version"], stated["flags"], stated["method"],
            0, 0x21, stated["crc"], stated["packed"], stated["size"], len(part.name), len(part.central_extra),
            len(part.comment), stated["disk"], 0, stated["attributes"], stated["offset"],
        )
        + part.name
        + part.central_extra
        + part.comment
    )  # fmt: skip
