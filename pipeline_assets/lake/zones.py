"""Landing zones: which objects belong to which dataset.

One regular expression matches both a single object (in Python) and a batch of a listing (in Arrow, by RE2). It uses
only what both engines read alike, so letters are spelled out in both cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_assets.errors import ConfigurationError
from pipeline_assets.lake.objects import LandedObject
from pipeline_assets.lake.store import Lake

if TYPE_CHECKING:
    import pyarrow as pa

_HIDDEN = r"(?:^|/)\."  # somewhere in a key


@dataclass(frozen=True)
class Zone:
    """A prefix of a bucket and the file names in it that belong to one dataset.

    `pattern` is matched with the part of the key after the prefix, without regard to case. `*` stands for any
    characters and `?` for one, but not for a slash; `**/` at the start stands for folders of any depth or none; `|`
    separates alternatives. Temporary files (a name or folder in the key begins with a dot), folder markers (the key
    ends with a slash) and what matches the pattern `beside` belong to no zone.

    Raises:
        ConfigurationError: the pattern has brackets, which shells read in different ways.
    """

    bucket: str
    prefix: str
    pattern: str
    beside: str = ""

    def __post_init__(self) -> None:
        if wrong := next((pattern for pattern in (self.pattern, self.beside) if "[" in pattern), None):
            raise ConfigurationError(f"{wrong!r} is not a pattern of a zone: only `*`, `?`, `**/` and `|` are known.")

    def __contains__(self, landed: LandedObject) -> bool:
        key = landed.key
        matches = landed.bucket == self.bucket and re.fullmatch(self._keys(self.pattern), key) is not None
        matches = matches and not (self.beside and re.fullmatch(self._keys(self.beside), key))
        return matches and not (key.endswith("/") or re.search(_HIDDEN, key))

    def objects(self, lake: Lake) -> Iterator[LandedObject]:
        """The objects in the zone now, in no particular order."""
        return (landed for landed in lake.list_objects(self.bucket, self.prefix) if landed in self)

    @property
    def is_recursive(self) -> bool:
        """Whether objects in folders below the prefix may belong to the zone."""
        return any("/" in pattern for pattern in self.pattern.split("|"))

    def select(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch of the bucket's listing that belong to the zone."""
        return batch.filter(self.mask(batch))

    def mask(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """For each row of a batch of the bucket's listing, whether it belongs to the zone."""
        import pyarrow.compute as pc

        matches = pc.match_substring_regex(batch["path"], f"^(?:{self._keys(self.pattern)})$")
        return pc.and_not(matches, pc.or_(hidden(batch), self.beside_mask(batch)))

    def beside_mask(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """For each row of a batch of the bucket's listing, whether it describes other objects of the zone."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self.beside:
            return pa.repeat(False, len(batch))
        return pc.match_substring_regex(batch["path"], f"^(?:{self._keys(self.beside)})$")

    def _keys(self, pattern: str) -> str:
        """A regular expression for the whole key."""
        return re.escape(self.prefix) + "(?:" + "|".join(map(_expression, pattern.split("|"))) + ")"


def hidden(batch: pa.RecordBatch) -> pa.BooleanArray:
    """For each row of a batch of a listing, whether it is a temporary file or a folder marker."""
    import pyarrow.compute as pc

    return pc.or_(pc.ends_with(batch["path"], "/"), pc.match_substring_regex(batch["path"], _HIDDEN))


def _expression(pattern: str) -> str:
    """The regular expression of one alternative: `(?:[^/]*/)*[^/]*\\.[jJ][sS][oO][nN]` for `**/*.json`."""
    folders, pattern = ("(?:[^/]*/)*", pattern[3:]) if pattern.startswith("**/") else ("", pattern)
    return folders + "".join({"*": "[^/]*", "?": "[^/]"}.get(character) or _letter(character) for character in pattern)


# Without regard to case, [kK] and [sS] also match the Kelvin sign and the long s in Arrow's engine.
_MORE_CASES = {"k": "\u212a", "s": "\u017f"}


def _letter(character: str) -> str:
    variants = (character, character.lower(), character.upper(), _MORE_CASES.get(character.lower(), character))
    cases = {case for case in variants if len(case) == 1}
    return re.escape(character) if len(cases) == 1 else f"[{''.join(sorted(cases))}]"
