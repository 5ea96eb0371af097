"""The preview of a table is readable at the size that the UI shows."""

from __future__ import annotations

from pipeline_assets.orchestration.markdown import CELL, as_table


def test_long_texts_are_cut_and_each_row_is_one_line() -> None:
    preview = as_table(["A", "PLOT"], [[None, "a|b\r\nc"], [1, "x" * 20_000], [2, "y" * CELL]])
    assert preview.split("\n") == [
        "| A | PLOT |",
        "| --- | --- |",
        "|  | a\\|b c |",
        f"| 1 | {'x' * CELL}… |",
        f"| 2 | {'y' * CELL} |",
    ]
