"""Find and read the files in sql/.

Each file opens with a comment: a query says what one row of its result is (`-- Grain: …`), a statement of the platform
that returns no rows says what it makes (`-- Makes: …`). The files of pipelines are queries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from itertools import takewhile
from pathlib import Path

from pipeline_assets.errors import ConfigurationError

GRAIN, MAKES = "Grain:", "Makes:"
_PLATFORM_FOLDERS = ("sql/ops/", "sql/platform/")
_BOUND = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True)
class SqlFile:
    """`name` is the path below sql/ without its suffix, `grain` the opening comment, `text` the whole file.

    `statement` is the text without that comment.
    """

    name: str
    grain: str
    text: str

    @property
    def statement(self) -> str:
        lines = self.text.splitlines()
        return "\n".join(lines[len(_opening_comment(lines)) :])


def sql_root() -> Path:
    """The folder sql/: beside the package in a checkout, inside it in a wheel."""
    for folder in (Path(__file__).resolve().parents[2] / "sql", Path(__file__).resolve().parent / "sql"):
        if folder.is_dir():
            return folder
    raise ConfigurationError("The folder sql/ is missing.", remedy="Reinstall the package or run from a checkout.")


def sql_files() -> list[str]:
    """The names of all files, sorted."""
    root = sql_root()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.sql"))


@cache
def load_sql(name: str) -> SqlFile:
    """Read `sql/<name>.sql`.

    Raises:
        ConfigurationError: the file does not exist, has no statement, or does not open with its grain or with what it
            makes.
    """
    folder, _, file = name.rpartition("/")
    return load_sql_in(sql_root() / folder, file, f"sql/{folder}")


def load_sql_in(folder: Path, name: str, shown: str) -> SqlFile:
    """Read `<name>.sql` of a folder; error messages name the folder `shown`. See `load_sql`."""
    path = f"{shown}/{name}.sql"
    try:
        text = (folder / f"{name}.sql").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist.") from None
    comment = " ".join(line.removeprefix("--").strip() for line in _opening_comment(text.splitlines()))
    file = SqlFile(path.removeprefix("sql/").removesuffix(".sql"), comment, text.rstrip(";"))
    words = file.statement.split()
    if not words:
        raise ConfigurationError(f"{path} has no statement.")
    is_query = words[0].upper() in ("SELECT", "WITH") or not path.startswith(_PLATFORM_FOLDERS)
    opening = GRAIN if is_query else MAKES
    if not comment.startswith(opening):
        what = "what it makes" if opening == MAKES else "its grain"
        raise ConfigurationError(f"{path} does not open with {what}.", remedy=f"Start with `-- {opening} …`.")
    return replace(file, grain=comment.removeprefix(opening).strip())


def _opening_comment(lines: list[str]) -> list[str]:
    return list(takewhile(lambda line: line.startswith("--"), lines))


def with_bind_variables(sql: str) -> str:
    """A statement with `:name` for each `%(name)s`, so that SQL parsers can read it."""
    return _BOUND.sub(r":\1", sql)
