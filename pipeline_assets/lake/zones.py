"""Landing zones: which objects belong to which dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline_assets.lake.objects import LandedObject
from pipeline_assets.lake.store import Lake


@dataclass(frozen=True)
class Zone:
    """A prefix of a bucket and the file names in it that belong to one dataset.

    `pattern` is a shell pattern on the part of the key behind the prefix, matched without regard to case; a star does
    not reach into folders, `**/` at its start stands for folders of any depth or none, and a bar between alternatives.
    Names that begin with a dot are somebody's temporary files, or lie in such a folder, and belong to nothing;
    neither do folder markers (keys that end with a slash).
    """

    bucket: str
    prefix: str
    pattern: str

    def __contains__(self, landed: LandedObject) -> bool:
        if landed.bucket != self.bucket or not landed.key.startswith(self.prefix):
            return False
        name = landed.key[len(self.prefix) :]
        hidden = name.startswith(".") or "/." in name or name.endswith("/") or not name
        patterns = self.pattern.lower().split("|")
        return not hidden and any(_matches(name.lower(), pattern) for pattern in patterns)

    def objects(self, lake: Lake) -> Iterator[LandedObject]:
        """What lies in the zone now, in no particular order."""
        return (landed for landed in lake.list(self.bucket, self.prefix) if landed in self)


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        pattern = pattern.removeprefix("**/")
        name = "/".join(name.split("/")[-1 - pattern.count("/") :])
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)
