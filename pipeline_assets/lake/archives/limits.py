"""The caps on what an archive may expand to; the settings have their values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArchiveLimits:
    """Caps on one archive.

    `entries` includes folders, `bytes` is the sum of all files, inflated. `ratio` is inflated to packed bytes, of each
    file and of the whole archive; what inflates to less than `ratio_from` bytes may have any ratio.
    """

    entries: int
    bytes: int
    ratio: float
    ratio_from: int = 16 * 1024 * 1024
