"""Find and read the files in sql/."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline_assets.errors import ConfigurationError


@dataclass(frozen=True)
class SqlFile:
    """`name` is the path below sql/ without its ending, `grain` the opening comment, `text` the statement."""

    name: str
    grain: str
    text: str


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
        ConfigurationError: there is no such file, or it does not open with its grain.
    """
    path = sql_root() / f"{name}.sql"
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise ConfigurationError(f"sql/{name}.sql does not exist.") from None
    comment: list[str] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        comment.append(line.removeprefix("--").strip())
    grain = " ".join(comment)
    if not grain.startswith("Grain:"):
        raise ConfigurationError(f"sql/{name}.sql does not open with its grain.", remedy="Start with `-- Grain: …`.")
    return SqlFile(name, grain.removeprefix("Grain:").strip(), text.rstrip(";"))
