"""The emulator of AWS, fresh for every test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from pipeline_assets.deploy.aws import glue_artifacts
from pipeline_assets.settings import Settings
from pipeline_assets_tests.support.deployed_stack import configured
from pipeline_assets_tests.support.ministack import CREDENTIALS, MiniStack, ministack

_package_zip = cache(glue_artifacts.package_zip)


@pytest.fixture(scope="module")
def emulator() -> Iterator[MiniStack]:
    with ministack() as running:
        yield running


@pytest.fixture
def aws(emulator: MiniStack, monkeypatch: pytest.MonkeyPatch) -> MiniStack:
    emulator.reset()
    monkeypatch.setattr(glue_artifacts, "package_zip", _package_zip)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return emulator


@pytest.fixture
def settings(aws: MiniStack) -> Settings:
    return configured(aws)
