"""Check the files of a Dagster instance: an unusable dagster.yaml or SQLite database is an error on one line.

Dagster itself raises whatever its libraries raise, and loads most classes of dagster.yaml only when they are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path

import dagster as dg

from pipeline_assets.errors import ConfigurationError, one_line

_REMEDY = "Correct it, or move it away: the next command writes a new one."
_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")


def require_usable_instance(home: Path) -> None:
    """Read dagster.yaml and open the databases, as far as they exist.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    import yaml

    config = home / "dagster.yaml"
    try:
        # Dagster's own loader accepts no more than this one.
        sections = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise _unusable(config, f"{error.problem or 'it is not YAML'}{line}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise _unusable(config, "it is not UTF-8 text") from None
    except OSError as error:
        raise _unusable(config, error.strerror or "it cannot be read") from None
    if not isinstance(sections, dict):
        raise _unusable(config, "it must have sections, such as `telemetry:`")
    for name, section in sections.items():
        if isinstance(section, dict) and {"module", "class"} <= section.keys():
            _require_class(config, name, str(section["module"]), str(section["class"]))
    _require_databases(home, "SELECT COUNT(*) FROM sqlite_master")


@contextmanager
def instance_errors(home: Path) -> Iterator[None]:
    """Turn errors of Dagster's configuration and databases into `ConfigurationError`."""
    from dagster_shared.check import CheckError
    from sqlalchemy.exc import ArgumentError, DatabaseError

    config = home / "dagster.yaml"
    try:
        yield
    except dg.DagsterInvalidConfigError as error:
        raise _unusable(config, error.errors[0].message.partition(" Expected:")[0]) from None
    except DatabaseError as error:
        _require_databases(home, "PRAGMA quick_check(1)")
        raise ConfigurationError(
            f"Dagster's database failed: {one_line(error.orig).rstrip('.')}.",
            remedy=f"Check the storage in {config}, and the rights and free space of {home}.",
        ) from None
    except (ArgumentError, CheckError, ImportError) as error:
        raise _unusable(config, str(error)) from None


def _require_class(config: Path, section: str, module: str, name: str) -> None:
    try:
        found = getattr(import_module(module), name)
    except (ImportError, ValueError, AttributeError):
        raise _unusable(config, f"there is no class {name} in a module {module} for {section}") from None
    if not hasattr(found, "from_config_value"):
        raise _unusable(config, f"{module}.{name} is not a class for {section}")


def _require_databases(home: Path, query: str) -> None:
    import sqlite3

    for path in (home / name for name in _DATABASES):
        if not path.exists():
            continue
        try:
            with closing(sqlite3.connect(path)) as database:
                ((answer,),) = database.execute(query).fetchall()
            reason = answer if isinstance(answer, str) and answer != "ok" else ""
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                continue
            reason = str(error)
        except sqlite3.DatabaseError as error:
            reason = str(error)
        if reason:
            raise ConfigurationError(
                f"Dagster's database {path} cannot be used: {one_line(reason).rstrip('.')}.",
                remedy="Move it away: Dagster creates a new one without the old runs; the warehouse keeps all tables.",
            )


def _unusable(config: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{config} cannot be used: {one_line(reason).rstrip('.')}.", remedy=_REMEDY)
