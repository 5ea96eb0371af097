"""A contract is read by libyaml where PyYAML has it, and by PyYAML's own parser elsewhere; nobody notices which."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline_assets.contracts import Contract, load_contract, odcs
from pipeline_assets.errors import ContractError
from pipeline_assets.settings import PROJECT_ROOT

CONTRACTS = [path.read_text(encoding="utf-8") for path in (PROJECT_ROOT / "pipeline_assets").rglob("contracts/*.yaml")]
BROKEN = [
    "apiVersion: v3.1.0\nschema: [\n",
    *("a: 1\na: 2\n", "{a: 1, a: 2}", "a:\n\t- b\n", "a: 'x\n", "a: b: c\n", "\x00", "a: &x 1\nb: *y\n", "a: - b\n"),
    *("%YAML 9\n---\na\n", "a: |\n  x\n y\n", "? [1,2]\n: 3\n", "a: 1\n---\nb: 2\n", "", "- 1\n", 'a: "\\q"\n'),
    *("a: !!python/object:x y\n", "<<: 1\n", "a: 1\n b: 2\n", "a: @x\n", "k: [1, 2\nb: 3\n", "a: !!binary zz\n"),
    *("version: 2026-13-01\n", "a: \u2028x\n", "\ufeffapiVersion: v3.1.0\r\n", "a:\n- b\n-c\n"),
]


def read(path: Path, text: str) -> Contract | str:
    """The contract in a text, or the message that refuses it."""
    path.write_bytes(text.encode())
    odcs._contract_in.cache_clear()
    try:
        return load_contract(path)
    except ContractError as error:
        return str(error)


def test_both_parsers_give_the_same_contract_or_the_same_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*CONTRACTS, *BROKEN]
    assert yaml.__with_libyaml__
    fast = [read(tmp_path / "x.yaml", text) for text in texts]
    monkeypatch.delattr(yaml, "CSafeLoader")
    slow = [read(tmp_path / "x.yaml", text) for text in texts]

    assert fast == slow
    assert [type(found) is str for found in fast] == [text in BROKEN for text in texts]


def test_a_contract_that_was_edited_is_read_again(tmp_path: Path) -> None:
    path, text = tmp_path / "x.yaml", CONTRACTS[0]
    path.write_text(text, encoding="utf-8")
    before = load_contract(path)
    path.write_text(text.replace("version: ", "version: 9", 1), encoding="utf-8")

    assert load_contract(path) != before
    path.write_text(text, encoding="utf-8")
    assert load_contract(path) == before
