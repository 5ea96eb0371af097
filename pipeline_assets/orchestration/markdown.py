"""Texts for Dagster's UI, which renders descriptions and notes as Markdown.

Names, patterns and values of contracts would be read as markup: `raw-data/*.csv` as emphasis, `<batch>` as HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pipeline_assets.errors import one_line

CELL = 60  # characters of a value in a preview
_SPAN = re.compile(r"`[^`]+`")
_WORD = re.compile(r"(?:`[^`]+`|\S)+")
# An underscore within a word is not markup.
_MARKUP = re.compile(r"[*|<>\[\]~&\\`^]|(?<![^\W_])_|_(?![^\W_])|://")
_AT_LINE_START = re.compile(r"[-+=#]+|\d+[.)]")
_PARTS = re.compile(r"([(\"']*)(.*?)([.,;:!?)\"']*)")


def plain(text: str) -> str:
    """A text that reads the same when it is rendered as Markdown: words with markup become code.

    Code between backticks stays code, line ends stay line ends.
    """
    return "\n".join(_plain_line(line) for line in text.splitlines())


def _plain_line(line: str) -> str:
    words = _WORD.findall(line)
    return " ".join(_plain_word(word, is_first=number == 0) for number, word in enumerate(words))


def _plain_word(word: str, *, is_first: bool) -> str:
    if _MARKUP.search(_SPAN.sub("", word)):
        before, inner, behind = _PARTS.fullmatch(word).groups()  # type: ignore[union-attr]
        return f"{before}{code(inner)}{behind}"
    return code(word) if is_first and _AT_LINE_START.fullmatch(word) else word


def code(text: str) -> str:
    """A code span of a text of one line, also if the text contains backticks."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, blank = "`" * (longest + 1), " " if "`" in text[:1] + text[-1:] else ""
    return f"{fence}{blank}{text}{blank}{fence}"


def as_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table whose cells are cut: the UI gives a column a few words, so a long text would fill the page."""

    def line(cells: Iterable[object]) -> str:
        texts = ("" if cell is None else one_line(cell) for cell in cells)
        cut = (text if len(text) <= CELL else f"{text[:CELL]}…" for text in texts)
        return "| " + " | ".join(text.replace("|", "\\|") for text in cut) + " |"

    return "\n".join([line(columns), line("---" for _ in columns), *(line(row) for row in rows)])


def as_sql(*statements: str) -> str:
    """A block of code for each statement."""
    return "\n\n".join(f"```sql\n{statement.strip()}\n```" for statement in statements)
