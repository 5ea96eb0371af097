"""How contracts differ between two runs of `catalog`: datasets and columns that came, went or changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline_assets.catalog.datasets import Dataset

# What of a dataset and of a column is compared, as JSON values by its name.
Snapshot = Mapping[str, Mapping[str, Any]]


def snapshot(datasets: Iterable[Dataset]) -> dict[str, dict[str, Any]]:
    """The contract of each dataset by its key: version, owner, grain, and columns by name."""
    return {
        dataset.key: {
            "version": dataset.contract.version,
            "owner": dataset.contract.owner,
            "grain": dataset.contract.grain,
            "columns": {
                entry.column.name: {
                    "type": entry.column.physical_type,
                    "required": entry.column.required,
                    "key": entry.column.key,
                    "personal": entry.column.personal,
                    "description": entry.column.description,
                }
                for entry in dataset.columns
            },
        }
        for dataset in datasets
    }


def compare(before: Snapshot, after: Snapshot) -> list[dict[str, Any]]:
    """The differences, sorted: `dataset`, `column` or "", and `what` happened to it."""
    found = []
    for key in sorted(before.keys() | after.keys()):
        if key not in before or key not in after:
            found.append(_change(key, "", "added" if key in after else "removed"))
            continue
        old, new = dict(before[key]), dict(after[key])
        was, now = old.pop("columns", {}), new.pop("columns", {})
        found += [_change(key, "", what) for what in _differences(old, new)]
        for name in sorted(was.keys() | now.keys()):
            if name not in was or name not in now:
                found.append(_change(key, name, "added" if name in now else "removed"))
            else:
                found += [_change(key, name, what) for what in _differences(was[name], now[name])]
    return found


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {_shown(old.get(name))} → {_shown(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value or "nothing")


def _change(dataset: str, column: str, what: str) -> dict[str, str]:
    return {"dataset": dataset, "column": column, "what": what}
