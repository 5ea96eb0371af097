"""Every contract document of the package, and those that `new` writes, for tests of the standard."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline_assets.new.propose import propose
from pipeline_assets.new.render import contracts
from pipeline_assets.new.sample import read_sample
from pipeline_assets.settings import PROJECT_ROOT

_ORDER = {
    "orderId": "A1",
    "paid": True,
    "orderedAt": "2024-01-01T10:00:00",
    "customer": {"id": 7, "name": "Ada", "address": {"zip": "1"}},
    "lines": [{"id": 1, "name": "Mouse", "price": 25.5}],
}
# Keys, personal data, dates in other formats, nested objects, a list, another delimiter.
_SAMPLES = {
    "csv": "id,name,email,amount,seen_on,ok,seen_at\n1,a b,x@y,1.50,31-12-2024,true,2024-01-01 10:00:00\n",
    "delimited": "id;name\n1;a\n2;b\n",
    "json": json.dumps([_ORDER]),
}
# What runs it as a command once for each path, in one process: it takes a second to start.
_LINT = """
import sys
from datacontract.cli import app
sys.exit(sum(bool(app(["lint", path], standalone_mode=False)) for path in sys.argv[1:]))
"""


def package_contracts() -> list[Path]:
    return sorted((PROJECT_ROOT / "pipeline_assets").rglob("contracts/*.yaml"))


def new_contracts(folder: Path) -> list[Path]:
    """What `new` writes for some samples."""
    paths = []
    for kind, content in _SAMPLES.items():
        sample_path = folder / kind
        sample_path.write_text(content, encoding="utf-8")
        sample = read_sample(sample_path, None)
        for name, text in contracts(f"things_{kind}", sample, propose(sample, f"things_{kind}", ())).items():
            paths.append(folder / f"{name}.yaml")
            paths[-1].write_text(text, encoding="utf-8")
    return paths


def lint_command(*paths: Path) -> list[str]:
    """`datacontract lint` for each path; exits with the number of those that it refuses.

    Skips the calling test, or fails it under CI=true, where the command is not installed.
    """
    python = PROJECT_ROOT / ".venv-datacontract" / "bin" / "python"
    if not python.exists():
        message = "datacontract-cli is not installed: `make .venv-datacontract`."
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return [str(python), "-c", _LINT, *map(str, paths)]
