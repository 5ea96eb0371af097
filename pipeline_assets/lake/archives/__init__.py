"""Zip archives: `unpack` takes any bytes and refuses what is not plain and complete, `pack` writes archives.

`guard` examines an archive before anything is written, with `directory` (what the archive states about itself) and
`names`. docs/archives.md says what is refused and why. An archive in an archive stays a file.
"""

from pipeline_assets.lake.archives.limits import ArchiveLimits
from pipeline_assets.lake.archives.packing import pack
from pipeline_assets.lake.archives.refused import RefusedArchiveError
from pipeline_assets.lake.archives.unpacking import Member, unpack

__all__ = ["ArchiveLimits", "Member", "RefusedArchiveError", "pack", "unpack"]
