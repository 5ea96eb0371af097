"""Texts for Dagster's UI, which renders descriptions and notes as Markdown.

Names, patterns and values of contracts would be read as markup: `raw-data/*.csv` as emphasis, `<batch>` as HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pipeline_assets.errors import one_line

PREVIEW_ROWS = 5
CELL = 60  # characters of a value in a preview
_SPAN = re.compile(r"`[^`]+`")
_WORD = re.compile(r"(?:`[^`]+`|\S)+")
# An underscore within a word is not markup.
_MARKUP_SIGN = re.compile(r"[*|<>\[\]~&\\`^]|(?<![^\W_])_|_(?![^\W_])")
_MARKUP = re.compile(rf"{_MARKUP_SIGN.pattern}|://")
_AT_LINE_START = re.compile(r"[-+=#]+|\d+[.)]")
_CODE = re.compile(r"(`+)( ?)(.+?)\2\1(?!`)")
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


def without_code(text: str) -> str:
    """A text of `plain` for pages that render no Markdown: code spans lose their backticks."""
    return _CODE.sub(r"\3", text)


def as_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table whose cells are cut: the UI gives a column a few words, so a long text would fill the page.

    Cells are escaped, so that asterisks in a value are shown.
    """

    def line(cells: Iterable[object]) -> str:
        texts = ("" if cell is None else one_line(cell) for cell in cells)
        cut = (text if len(text) <= CELL else f"{text[:CELL]}…" for text in texts)
        return "| " + " | ".join(_MARKUP_SIGN.sub(r"\\\g<0>", text) for text in cut) + " |"

    return "\n".join([line(columns), line("---" for _ in columns), *(line(row) for row in rows)])


def as_sql(*statements: str) -> str:
    """A block of code for each statement."""
    return "\n\n".join(f"```sql\n{statement.strip()}\n```" for statement in statements)


_SQL_TOKEN = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|\s+|\w+|.", re.DOTALL)
_CLAUSES = {"FROM", "WHERE", "HAVING", "QUALIFY", "LIMIT", "UNION", "USING", "VALUES", "SET", "SELECT"}
_WITH_NEXT = {"GROUP": "BY", "ORDER": "BY", "INNER": "JOIN", "LEFT": "JOIN", "RIGHT": "JOIN", "FULL": "OUTER"}
_LINE = 100  # characters, after which a list goes on in the next line


def readable(statement: str) -> str:
    """A statement of one line with its clauses in lines of their own; only white space between tokens changes."""
    statement = statement.strip()
    if "\n" in statement:  # a file of sql/, which is formatted
        return statement
    found = _SQL_TOKEN.findall(statement)
    tokens = [(token, number > 0 and found[number - 1].isspace()) for number, token in enumerate(found)]
    return _in_lines([(token, is_spaced) for token, is_spaced in tokens if not token.isspace()])


def _in_lines(tokens: Sequence[tuple[str, bool]]) -> str:
    """Tokens in lines; each comes with whether white space is before it."""
    lines, line, is_query = [], "", [True]  # whether the statement, and each open parenthesis, is a query
    for number, (token, is_spaced) in enumerate(tokens):
        following = tokens[number + 1][0].upper() if number + 1 < len(tokens) else ""
        begins = token.upper() in _CLAUSES or _WITH_NEXT.get(token.upper(), " ") == following
        indent = "    " * (sum(is_query) - 1)
        if line.strip() and is_spaced:
            if begins and is_query[-1] and line.strip().upper() != "DELETE":
                lines.append(line)
                line = indent
            elif line.endswith(",") and len(line) > _LINE:
                lines.append(line)
                line = f"{indent}    "
            else:
                line += " "
        line += token
        if token == "(":
            is_query.append(following in ("SELECT", "WITH"))
        elif token == ")" and len(is_query) > 1:
            is_query.pop()
    return "\n".join([*lines, line])
