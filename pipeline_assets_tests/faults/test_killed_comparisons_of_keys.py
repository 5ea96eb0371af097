"""kill -9 in a run that compares the keys of a table with those of its source, and in the load of what differs."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pipeline_assets_tests.support.command_line import run_code
from pipeline_assets_tests.support.reviews_lake import ReviewsLake

_RUN_AND_BE_KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline_assets.lake import LocalLake
from pipeline_assets.warehouse import connection, transaction
from pipeline_assets_tests.support.reviews_lake import ReviewsLake

what, left = sys.argv[2], [int(sys.argv[3])]

def kill_at(name, *, after):
    if name == what and after == (sys.argv[4] == "after"):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

publish, run = LocalLake.publish, transaction.run_statement

def killed_publish(self, source, bucket, key):
    kill_at("publish", after=False)
    uri = publish(self, source, bucket, key)
    kill_at("publish", after=True)
    return uri

def killed_statement(opened, sql, params=None):
    is_commit = sql.strip().upper().startswith("COMMIT") and "REVIEWS.BOOKS" in killed_statement.seen
    killed_statement.seen += sql if "INSERT INTO" in sql else ""
    if is_commit:
        kill_at("commit", after=False)
    result = run(opened, sql, params)
    if is_commit:
        kill_at("commit", after=True)
    return result

killed_statement.seen = ""
LocalLake.publish = killed_publish
transaction.run_statement = connection.run_statement = killed_statement
ReviewsLake.at(Path(sys.argv[1]), reviews_reconcile_hours=0).extract()
"""
BOOKS = {"name": "books", "key": "id", "cursor": "changed", "deletes": "soft"}
DAY = "2024-01-02 00:00:00"
FIRST = (
    "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, changed DATETIME)",
    f"INSERT INTO books VALUES (1, 'One', '{DAY}'), (2, 'Two', '{DAY}'), (3, 'Three', '{DAY}')",
)


def extract_and_be_killed(home: Path, *arguments: str) -> None:
    killed = run_code(home, _RUN_AND_BE_KILLED, home, *arguments)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "number", "when"),
    [*(("publish", number, "before") for number in range(1, 8)), ("commit", 1, "before"), ("commit", 1, "after")],
)
def test_a_killed_comparison_of_keys_marks_and_finds_each_row_in_the_end(
    what: str, number: int, when: str, tmp_path: Path
) -> None:
    """A late row, a marked one and a new one land in five objects: two files, two manifests, and the changes."""
    lake = ReviewsLake.extracted(tmp_path, BOOKS, FIRST, reviews_reconcile_hours=0)
    before = lake.table("BOOKS", "ID, TITLE, IS_DELETED")
    lake.sql(
        "DELETE FROM books WHERE id = 2",
        "INSERT INTO books VALUES (4, 'Late', '2001-01-01 00:00:00'), (5, 'New', '2024-02-01 00:00:00')",
    )
    extract_and_be_killed(tmp_path, what, str(number), when)
    after = [(1, "One", False), (2, "Two", True), (3, "Three", False), (4, "Late", False), (5, "New", False)]
    assert lake.table("BOOKS", "ID, TITLE, IS_DELETED") in (before, after)
    lake.sql("INSERT INTO books VALUES (2, 'Again', '2024-03-01 00:00:00')")
    lake.run()  # loads what is complete, the mark of a row that is there again included
    lake.extract()
    assert lake.table("BOOKS", "ID, TITLE, IS_DELETED") == [after[0], (2, "Again", False), *after[2:]]
