"""`dagster_snowflake`'s resource, imported without the modules that no pipeline uses.

Its module imports Snowpark and Snowflake's management API, which would cost every command and run worker two seconds.
Placeholder modules replace them during the import; a method that uses one imports the real module when it is called.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType
from typing import Any

# Imported by `dagster_snowflake.resources` (0.29.27) for Snowpark sessions and listings of objects.
_LAZY_MODULES = (
    "snowflake.snowpark",
    "snowflake.core",
    *(f"snowflake.core.{name}" for name in ("database", "pipe", "schema", "stage", "table", "view")),
)
_importing = threading.Lock()


def snowflake_resource() -> Any:
    """The class `dagster_snowflake.SnowflakeResource`."""
    with _importing:
        if "dagster_snowflake" not in sys.modules:
            placeholders = [name for name in _LAZY_MODULES if name not in sys.modules]
            sys.modules.update({name: _Placeholder(name) for name in placeholders})
            try:
                importlib.import_module("dagster_snowflake")
            finally:
                for name in placeholders:
                    del sys.modules[name]
    from dagster_snowflake import SnowflakeResource

    return SnowflakeResource


class _Placeholder(ModuleType):
    """A placeholder for a module: it has every name, and the real module is imported when one is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _LazyClass(self.__name__, name)


class _LazyClass:
    """A class of a placeholder module."""

    def __init__(self, module: str, name: str) -> None:
        self._module_and_name = (module, name)

    def _real(self) -> Any:
        module, name = self._module_and_name
        return getattr(importlib.import_module(module), name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)
