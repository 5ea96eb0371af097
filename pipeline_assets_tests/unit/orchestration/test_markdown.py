"""Texts read the same in the UI, which renders Markdown; statements of one line get lines, and stay the same."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipeline_assets.orchestration.markdown import CELL, as_table, code, plain, readable, without_code

MARKUP = [
    *("raw-data/*.csv", "**/*", "_BATCH_ID", "a_b_c", "_x_", "<batch>", "<b>", "a|b", "a < b", "[x](y)", "&amp;", "1."),
    *("#", "- x", "`code *`", "`", "~~x~~", "C:\\*", "https://x.y", "(a*b*c),", "===", "---", "“é”", "->", "x.", "***"),
]
WORDS = st.sampled_from(MARKUP)
TEXTS = st.lists(
    WORDS | st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp", "Zs", "Cf"]), max_size=6), max_size=8
)


@given(TEXTS)
@example(["Field `*` of", "<x>,", "*a*"])
def test_words_with_markup_are_shown_as_they_are(words: list[str]) -> None:
    text = " ".join(" ".join(words).split())
    html = MarkdownIt("gfm-like", {"linkify": False}).render(plain(text))
    tags = set(re.findall(r"<(\w+)", html))
    assert tags <= {"p", "code"}
    shown = unescape(re.sub(r"</?(?:p|code)>", "", html))
    assert re.sub(r"[\s`]", "", shown) == re.sub(r"[\s`]", "", text)


@given(st.lists(st.sampled_from(MARKUP), min_size=1, max_size=3))
def test_a_cell_of_a_preview_shows_its_value(words: list[str]) -> None:
    value = " ".join(words)[:CELL]
    html = MarkdownIt("gfm-like", {"linkify": False}).render(as_table(["A_B", "_C"], [[value, None]]))
    cells = [unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", html)]
    assert cells == ["A_B", "_C", " ".join(value.split()), ""]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Price of one piece, exact.", "Price of one piece, exact."),
        ("Files below raw-data/**/*.csv, plain.", "Files below `raw-data/**/*.csv`, plain."),
        ("Sum of AMOUNT_SPENT; see OPS.BATCHES.", "Sum of AMOUNT_SPENT; see OPS.BATCHES."),
        ("Kept in _RESCUED.", "Kept in `_RESCUED`."),
        ("Already `a*b` code.", "Already `a*b` code."),
        ("One line\nand another*", "One line\nand `another*`"),
    ],
)
def test_only_words_with_markup_become_code(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_clauses_have_their_own_lines_and_subqueries_are_indented() -> None:
    statement = (
        "DELETE FROM A.DAILY USING (SELECT DISTINCT L.DAY FROM A.LINES AS L LEFT JOIN B ON L.X = B.X WHERE L.NOTE = "
        "'not FROM here') AS O WHERE A.DAILY.DAY = O.DAY"
    )
    assert readable(statement).split("\n") == [
        "DELETE FROM A.DAILY",
        "USING (SELECT DISTINCT L.DAY",
        "    FROM A.LINES AS L",
        "    LEFT JOIN B ON L.X = B.X",
        "    WHERE L.NOTE = 'not FROM here') AS O",
        "WHERE A.DAILY.DAY = O.DAY",
    ]


def test_clauses_of_functions_and_windows_stay_in_their_line() -> None:
    statement = "SELECT LEFT(A, 1), EXTRACT(YEAR FROM B), ROW_NUMBER() OVER (PARTITION BY A ORDER BY B) AS N FROM T"
    assert readable(statement).count("\n") == 1


SQL = st.lists(
    st.sampled_from(
        [
            "SELECT",
            "FROM",
            "A",
            "(",
            ")",
            ",",
            "'it''s FROM  x'",
            '"a  FROM"',
            "GROUP",
            "BY",
            "%s",
            "DELETE",
            "'\\'  FROM'",
        ]
    ),
    max_size=40,
)


@given(SQL)
def test_only_white_space_between_tokens_changes(tokens: list[str]) -> None:
    statement = " ".join(tokens)
    parts = r"'(?:[^'\\]|\\.|'')*'|\"[^\"]*\"|[^\s'\"]+"
    assert re.findall(parts, readable(statement)) == re.findall(parts, statement)


@pytest.mark.parametrize("text", ["kept in _RESCUED.", "raw-data/*.csv", "`", "a ``b`` c_", "no markup"])
def test_a_page_without_markdown_shows_the_text_of_code(text: str) -> None:
    assert without_code(" ".join(code(word) for word in text.split(" "))) == text
    assert without_code("lists `a`, `b_`; nothing else") == "lists a, b_; nothing else"
