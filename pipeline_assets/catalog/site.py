"""The files of the catalog, written so that a browser shows the old site or the new one, never a mixture.

`index.html` names a folder `site-<digest>` with everything else: script, style, layout library, and the data as
scripts, because a page that is opened from disk may not fetch. `contracts.json` is what the next run compares with.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline_assets.catalog.changes import compare, snapshot
from pipeline_assets.catalog.datasets import ColumnEntry, Dataset
from pipeline_assets.catalog.health import Daily, days_of
from pipeline_assets.catalog.loaded import Loaded
from pipeline_assets.errors import ConfigurationError

PAGE = Path(__file__).resolve().parent / "page"
LAYOUT, LICENSE = "dagre/dagre-3.1.3.min.js", "dagre/LICENSE"
_SHARED = ("catalog.js", "catalog.css", "graph.js", "lineage.js", "health.js")
_STATE, _INDEX = "contracts.json", "index.html"
_CHANGES_KEPT = 50  # runs of `catalog` that changed something


def write_site(
    folder: Path,
    datasets: Sequence[Dataset],
    loaded: Loaded,
    *,
    rules: Mapping[str, Sequence[dict[str, Any]]],
    runs: Mapping[str, Sequence[dict[str, Any]]],
    reasons: Mapping[str, str],
    freshness_hours: float,
    at: datetime,
) -> Path:
    """Write the site; `at` is UTC. Returns its index.html.

    Raises:
        ConfigurationError: the folder has other files, or cannot be written.
    """
    try:
        changes = _changes(folder, datasets, at)
        numbers = {dataset.key: number for number, dataset in enumerate(datasets)}
        names = dict.fromkeys(dataset.pipeline for dataset in datasets)
        overview = {
            "generated": at.isoformat(sep=" ", timespec="seconds"),
            "freshnessHours": freshness_hours,
            "datasets": [_overview(dataset, numbers, loaded, rules) for dataset in datasets],
            "pipelines": {name: _health(loaded, name, runs.get(name, ()), at) for name in names},
            "reasons": dict(sorted(reasons.items())),
            "changes": changes["changes"],
        }
        files = {f"data/{numbers[d.key]}.js": _script(numbers[d.key], _details(d, loaded, rules)) for d in datasets}
        files["data/catalog.js"] = _script("catalog", overview)
        files |= {name: (PAGE / name).read_bytes() for name in (*_SHARED, LAYOUT, LICENSE)}
        return _publish(folder, files, json.dumps(changes, ensure_ascii=False, indent=1).encode())
    except OSError as error:
        raise ConfigurationError(
            f"The catalog cannot be written to {folder}: {os.strerror(error.errno or 0)}.",
            remedy="Choose another folder with --out.",
        ) from None


def _overview(
    dataset: Dataset,
    numbers: Mapping[str, int],
    loaded: Loaded,
    rules: Mapping[str, Sequence[dict[str, Any]]],
) -> dict[str, Any]:
    """What search, lists and graphs need of a dataset; a column is [name, type, marks, description, inputs]."""
    found, of_dataset = loaded.datasets.get(dataset.key, {}), rules.get(dataset.key, ())
    return {
        "key": dataset.key,
        "pipeline": dataset.pipeline,
        "kind": dataset.kind,
        "location": dataset.location,
        "grain": dataset.contract.grain,
        "owner": dataset.contract.owner,
        "reads": [numbers[key] for key in dataset.reads],
        "rows": found.get("rows"),
        "at": found.get("changed") or found.get("arrived"),
        "landed": dataset.is_landed,
        "failed": sum(rule.get("passed") is False for rule in of_dataset),
        "columns": [_column(entry, numbers) for entry in dataset.columns],
    }


def _health(loaded: Loaded, pipeline: str, runs: Sequence[dict[str, Any]], at: datetime) -> dict[str, Any]:
    return {
        "waiting": loaded.waiting.get(pipeline, {}),
        "lastRun": runs[-1] if runs else None,
        "days": days_of(loaded.daily.get(pipeline, Daily()), runs, at),
    }


def _column(entry: ColumnEntry, numbers: Mapping[str, int]) -> list[Any]:
    column = entry.column
    marks = "k" * column.key + "r" * column.required + "p" * column.personal
    inputs = [[numbers[key], name] for key, name in entry.inputs]
    return [column.name, column.physical_type, marks, column.description, inputs]


def _details(dataset: Dataset, loaded: Loaded, rules: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """What the page of a dataset, and those of its columns, show beside the overview."""
    contract = dataset.contract
    return {
        "description": contract.description,
        "contract": f"{contract.name} {contract.version}",
        "write": dataset.write,
        "sql": dataset.sql,
        "sqlName": dataset.sql_name,
        "rules": list(rules.get(dataset.key, ())),
        "loaded": loaded.datasets.get(dataset.key, {}),
        "origins": {entry.column.name: entry.origin for entry in dataset.columns if entry.origin},
        "steps": {
            entry.column.name: [[step.of, step.column, step.expression] for step in entry.steps]
            for entry in dataset.columns
            if entry.steps
        },
        "accepted": {e.column.name: list(e.column.accepted) for e in dataset.columns if e.column.accepted},
    }


def _script(name: int | str, value: Any) -> bytes:
    """Data as a call; `<` is escaped, so that no text of a contract could end a script or begin one."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"catalogData({json.dumps(name)}, {text});\n".encode()


def _changes(folder: Path, datasets: Sequence[Dataset], at: datetime) -> dict[str, Any]:
    """The contracts as they are now, and what changed in each run, newest first.

    Raises:
        ConfigurationError: the folder has files, but none of an earlier run, or that one is damaged.
    """
    contracts = snapshot(datasets)
    state = folder / _STATE
    if not state.exists():
        if folder.exists() and any(folder.iterdir()):
            raise ConfigurationError(
                f"{folder} has files that are not a catalog's.", remedy="Choose an empty or a new folder with --out."
            )
        return {"contracts": contracts, "changes": []}
    try:
        before = json.loads(state.read_text(encoding="utf-8"))
        found, earlier = compare(before["contracts"], contracts), before["changes"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{state} is damaged, so changes of contracts cannot be shown.", remedy="Delete it, with the whole folder."
        ) from None
    if found:
        stamp = at.isoformat(sep=" ", timespec="seconds")
        earlier = [{"at": stamp, "found": found}, *earlier][:_CHANGES_KEPT]
    return {"contracts": contracts, "changes": earlier}


def _publish(folder: Path, files: Mapping[str, bytes], state: bytes) -> Path:
    """Write the files into a new folder, then index.html that names it, then remove older ones."""
    digest = hashlib.sha256(b"".join(name.encode() + content for name, content in sorted(files.items()))).hexdigest()
    site = folder / f"site-{digest[:16]}"
    for name, content in files.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    shell = (PAGE / _INDEX).read_text(encoding="utf-8").replace("$SITE", site.name).replace("$LAYOUT", LAYOUT)
    _replace(folder / _STATE, state)
    _replace(folder / _INDEX, shell.encode())
    for older in folder.glob("site-*"):
        if older != site:
            shutil.rmtree(older)
    return folder / _INDEX


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    os.replace(new, path)
