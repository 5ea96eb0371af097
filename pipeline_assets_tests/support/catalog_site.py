"""Catalogs for tests: the specs of assets to compare with, and the data of a written site."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

FIRST_DAY = date(2026, 1, 1)


def specs_of(assets: Iterable[dg.AssetSpec | dg.AssetsDefinition]) -> dict[str, dg.AssetSpec]:
    """The specs of assets by their keys."""
    specs = [spec for each in assets for spec in ([each] if isinstance(each, dg.AssetSpec) else each.specs)]
    return {spec.key.to_user_string(): spec for spec in specs}


def data_of(folder: Path, name: str = "catalog") -> dict[str, Any]:
    """One data file of a site as a browser reads it."""
    (file,) = folder.glob(f"site-*/data/{name}.js")
    text = file.read_text(encoding="utf-8")
    return json.loads(text.removeprefix(f"catalogData({json.dumps(name)}, ").removesuffix(");\n"))


def details_of(folder: Path, key: str) -> dict[str, Any]:
    """The details of a dataset in a site."""
    number = [dataset["key"] for dataset in data_of(folder)["datasets"]].index(key)
    (file,) = folder.glob(f"site-*/data/{number}.js")
    text = file.read_text(encoding="utf-8")
    return json.loads(text.removeprefix(f"catalogData({number}, ").removesuffix(");\n"))
