"""`dagster_snowflake`'s resource, imported without what no pipeline uses.

Its module imports Snowpark and Snowflake's management API: two seconds that every command and every run worker would
pay for methods that nothing here calls. While it is imported, stand-ins take their place; whoever calls such a method
all the same gets the real thing, imported then.
"""

from __future__ import annotations

import importlib
import sys
import threading
from types import ModuleType
from typing import Any

# What `dagster_snowflake.resources` imports at its top, as of 0.29.27, for Snowpark sessions and listings of objects.
_LATER = (
    "snowflake.snowpark",
    "snowflake.core",
    *(f"snowflake.core.{name}" for name in ("database", "pipe", "schema", "stage", "table", "view")),
)
_importing = threading.Lock()


def snowflake_resource() -> Any:
    """The class `dagster_snowflake.SnowflakeResource`."""
    with _importing:
        if "dagster_snowflake" not in sys.modules:
            stand_ins = [name for name in _LATER if name not in sys.modules]
            sys.modules.update({name: _StandIn(name) for name in stand_ins})
            try:
                importlib.import_module("dagster_snowflake")
            finally:
                for name in stand_ins:
                    del sys.modules[name]
    from dagster_snowflake import SnowflakeResource

    return SnowflakeResource


class _StandIn(ModuleType):
    """A module that has every name, and is imported when one of them is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Later(self.__name__, name)


class _Later:
    """A class of such a module."""

    def __init__(self, module: str, name: str) -> None:
        self._where = (module, name)

    def _real(self) -> Any:
        module, name = self._where
        return getattr(importlib.import_module(module), name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)
