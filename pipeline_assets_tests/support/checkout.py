"""A copy of the checkout in which a sixth pipeline can be made."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pipeline_assets.pipeline import Pipeline
from pipeline_assets.pipeline.resolve import resolve
from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets_tests.support import warm_python
from pipeline_assets_tests.support.pipeline_lake import PipelineLake

ORDERS_CSV = """\
id,user_id,order_date,status
1,1,2018-01-01,returned
2,3,2018-01-02,completed
3,94,2018-01-04,completed
"""
BASKETS_JSON = """\
[
  {"basket_id": 1, "opened_on": "2024-01-10", "total": 95.50, "buyer": {"id": 7, "name": "Ada", "email": "a@x.org"},
   "items": [{"sku": "P01", "name": "Mouse", "price": 25.00, "quantity": 2},
             {"sku": "P02", "name": "Keyboard", "price": 45.50, "quantity": 1}]},
  {"basket_id": 2, "opened_on": "2024-01-12", "total": 0, "buyer": {"id": 8, "name": "Bo", "email": null}, "items": []}
]
"""


def copy_checkout(root: Path) -> Path:
    """What `new` reads and writes, and nothing else."""
    for folder in ("pipeline_assets", "sql", "infra"):
        shutil.copytree(PROJECT_ROOT / folder, root / folder)  # with what Python has compiled
    for file in ("pyproject.toml", "workspace.yaml"):
        shutil.copy(PROJECT_ROOT / file, root / file)
    return root


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes, but what Python and tools keep for themselves."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not {"__pycache__", ".ruff_cache", ".pipeline"} & set(path.parts)
    }


def python(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the package of the copy."""
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root), **environment}
    return warm_python.run(arguments, env=variables, cwd=root, timeout=240)


def value_in(root: Path, name: str, folder: Path) -> Pipeline:
    """The value that `new` wrote, for this process; its contracts and SELECTs are copied into `folder`."""
    import runpy
    from dataclasses import replace

    shutil.copytree(root / "pipeline_assets" / name / "contracts", folder / "contracts")
    shutil.copytree(root / "sql" / name, folder / "sql")
    module = runpy.run_path(str(root / "pipeline_assets" / name / "pipeline.py"))
    return replace(module[name.upper()], folder=folder)


def lake_of(
    root: Path, name: str, folder: Path, tables: Mapping[str, str] = MappingProxyType({})
) -> type[PipelineLake]:
    """Homes with the pipeline that `new` wrote, in this process; `folder` as in `value_in`."""
    resolved = resolve(value_in(root, name, folder))

    class Lake(PipelineLake):
        pipeline = staticmethod(lambda: resolved)
        landing = f"{resolved.bucket}/incoming"
        tables_sql = tables

    return Lake
