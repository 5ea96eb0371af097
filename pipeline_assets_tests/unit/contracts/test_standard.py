"""Contracts are documents of the Open Data Contract Standard, by the schema that it publishes."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft201909Validator

from pipeline_assets_tests.support.standard_contracts import new_contracts, package_contracts


@pytest.fixture(scope="module")
def validator() -> Draft201909Validator:
    text = (files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8")
    return Draft201909Validator(json.loads(text), format_checker=Draft201909Validator.FORMAT_CHECKER)


def mistakes(validator: Draft201909Validator, path: Path) -> list[str]:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("path", package_contracts(), ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_contract_of_the_package_is_valid(validator: Draft201909Validator, path: Path) -> None:
    assert mistakes(validator, path) == []


def test_what_new_writes_is_valid(validator: Draft201909Validator, tmp_path: Path) -> None:
    paths = new_contracts(tmp_path)

    assert {path.name: mistakes(validator, path) for path in paths} == {path.name: [] for path in paths}
    assert len(paths) == 5
