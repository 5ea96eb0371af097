"""`datacontract lint`, which others check contracts with, accepts ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pipeline_assets_tests.support.standard_contracts import lint_command, new_contracts, package_contracts


def lint(tmp_path: Path, *paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(lint_command(*paths), cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)


def test_it_accepts_every_contract(tmp_path: Path) -> None:
    paths = [*package_contracts(), *new_contracts(tmp_path)]

    done = lint(tmp_path, *paths)

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Data contract is valid.") == len(paths)


def test_it_refuses_a_document_that_is_no_contract_of_the_standard(tmp_path: Path) -> None:
    """So that the test above says something."""
    (path,) = (path for path in package_contracts() if path.stem == "daily_spend")
    text = path.read_text(encoding="utf-8")
    changed = [tmp_path / "name.yaml", tmp_path / "type.yaml"]
    for file, change in zip(changed, (("id: ", "identity: "), ("logicalType: date", "logicalType: day")), strict=True):
        assert change[0] in text
        file.write_text(text.replace(*change, 1), encoding="utf-8")
    assert lint(tmp_path, *changed).returncode == len(changed)
