"""Broken records over several lines, and what any engine has to make of the lines that they touch.

A quote that opens and closes lines later may be two stray quotes around good records. When the record that it makes has
not the fields of the header, only its first line is broken; the lines behind it are records of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEADER = "ID,NAME,NOTE"
BEFORE, BEHIND = "0,Ada,before", "9,Grace,behind"  # good records around every case
_FIRST_LINE = 3  # the header and the record before stand above


@dataclass(frozen=True)
class Lines:
    """Lines of a file, the records that are good, and (number of the line among these, text) of those that are not."""

    lines: Sequence[str]
    good: Sequence[tuple[str, str, str]]
    bad: Sequence[tuple[int, str]]

    def content(self, end: str) -> str:
        """A whole file of them."""
        return end.join([HEADER, BEFORE, *self.lines, BEHIND, ""])

    def rows(self, end: str) -> list[tuple[str, ...]]:
        """Its good records."""
        good = [tuple(value.replace("\n", end) for value in row) for row in self.good]
        return sorted([*good, tuple(BEFORE.split(",")), tuple(BEHIND.split(","))])

    @property
    def reported(self) -> list[tuple[int, str, str]]:
        """(line of the file, raw, code) of its bad ones."""
        return [(_FIRST_LINE + number, raw, "malformed_record") for number, raw in self.bad]


CASES = {
    "too_many_fields": Lines(['a,"b', "c,d,1", 'e",2,3'], [("c", "d", "1"), ('e"', "2", "3")], [(0, 'a,"b')]),
    "too_few_fields": Lines(['a,"b', "c,d,1", 'e"'], [("c", "d", "1")], [(0, 'a,"b'), (2, 'e"')]),
    "first_field_opens": Lines(['"a', "b,c,d", 'e",f,g,h'], [("b", "c", "d")], [(0, '"a'), (2, 'e",f,g,h')]),
    "last_field_opens": Lines(['a,b,c,"d', "e,f,g", '"'], [("e", "f", "g")], [(0, 'a,b,c,"d'), (2, '"')]),
    "never_closed": Lines(['a,"b', "c,d,1", "e,f,2"], [("c", "d", "1"), ("e", "f", "2")], [(0, 'a,"b')]),
    "text_behind_the_quote": Lines(['a,"b', "c,d,1", 'e"x,2'], [("c", "d", "1")], [(0, 'a,"b'), (2, 'e"x,2')]),
    "doubled_quotes": Lines(
        ['a,"b ""x""', "c,d,1", 'e",2,3'], [("c", "d", "1"), ('e"', "2", "3")], [(0, 'a,"b ""x""')]
    ),
    "blank_line_inside": Lines(['a,"b', "", "c,d,1", 'e",2,3'], [("c", "d", "1"), ('e"', "2", "3")], [(0, 'a,"b')]),
    "one_after_another": Lines(
        ['a,"b', "c,d,1", 'e",2,3', 'f,"g', "h,i,1", 'j",2,3'],
        [("c", "d", "1"), ('e"', "2", "3"), ("h", "i", "1"), ('j"', "2", "3")],
        [(0, 'a,"b'), (3, 'f,"g')],
    ),
    "a_long_and_a_short_one": Lines(
        ['a,"b', "c,d,1", 'e",2,3', "x,y"], [("c", "d", "1"), ('e"', "2", "3")], [(0, 'a,"b'), (3, "x,y")]
    ),
    "beside_a_good_one_over_lines": Lines(
        ['a,"b', "c,d,1", 'e",2,3', 'f,"g', "h,i,1", 'j",k'],
        [("c", "d", "1"), ('e"', "2", "3"), ("f", "g\nh,i,1\nj", "k")],
        [(0, 'a,"b')],
    ),
}
