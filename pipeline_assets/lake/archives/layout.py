"""The records of a zip archive (PKWARE's APPNOTE.TXT 6.3.10, section 4.3), shared by reading and writing."""

from __future__ import annotations

from struct import Struct

LOCAL_SIGNATURE = b"PK\x03\x04"
DESCRIPTOR_SIGNATURE = b"PK\x07\x08"
CENTRAL_SIGNATURE = b"PK\x01\x02"
ZIP64_END_SIGNATURE = b"PK\x06\x06"
ZIP64_LOCATOR_SIGNATURE = b"PK\x06\x07"
END_SIGNATURE = b"PK\x05\x06"

# signature, version, flags, method, time, date, crc, packed, inflated, lengths of name and extra
LOCAL = Struct("<4s5H3L2H")
# signature, made by, version, flags, method, time, date, crc, packed, inflated, lengths of name, extra and comment,
# disk, internal and external attributes, offset of the local header
CENTRAL = Struct("<4s6H3L5H2L")
# signature, size of the rest, made by, version, disk, disk of the directory, entries on this disk, entries, size and
# offset of the directory
ZIP64_END = Struct("<4sQ2H2L4Q")
# signature, disk and offset of the zip64 end record, number of disks
ZIP64_LOCATOR = Struct("<4sLQL")
# signature, disk, disk of the directory, entries on this disk, entries, size and offset of the directory, length of
# the comment
END = Struct("<4s4H2LH")

ENCRYPTED, DESCRIPTOR, PATCHED, STRONG, UTF8, MASKED = 0x1, 0x8, 0x20, 0x40, 0x800, 0x2000
STORED, DEFLATED, AES = 0, 8, 99
ZIP64_EXTRA, UNICODE_PATH_EXTRA = 0x0001, 0x7075
LIMIT_16, LIMIT_32 = 0xFFFF, 0xFFFFFFFF  # "the value is in the zip64 record"
ZIP64_END_REST = ZIP64_END.size - 12  # what its size field counts
