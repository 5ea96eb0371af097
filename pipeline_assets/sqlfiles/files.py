"""Find and read the files in sql/.

Each file opens with a comment that describes one row (`-- Grain: …`) or, for statements of the platform that return no
rows, their effect (`-- Makes: …`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline_assets.errors import ConfigurationError

PLATFORM = "platform/"  # the statements of `pipeline-assets deploy snowflake`
GRAIN, MAKES = "Grain:", "Makes:"


@dataclass(frozen=True)
class SqlFile:
    """`name` is the path below sql/ without its suffix, `grain` the opening comment, `text` the statement.

    `statement` is the text without that comment.
    """

    name: str
    grain: str
    text: str

    @property
    def statement(self) -> str:
        lines = self.text.splitlines()
        return "\n".join(lines[next(n for n, line in enumerate(lines) if not line.startswith("--")) :])


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
        ConfigurationError: the file does not exist, or does not open with its grain or with what it makes.
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
    comment: list[str] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        comment.append(line.removeprefix("--").strip())
    opening = MAKES if f"{path}/".startswith(f"sql/{PLATFORM}") else GRAIN
    grain = " ".join(comment)
    if not grain.startswith(opening):
        what = "what it makes" if opening == MAKES else "its grain"
        raise ConfigurationError(f"{path} does not open with {what}.", remedy=f"Start with `-- {opening} …`.")
    return SqlFile(
        path.removeprefix("sql/").removesuffix(".sql"), grain.removeprefix(opening).strip(), text.rstrip(";")
    )
