"""The emulator of AWS, fresh for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline_assets.settings import Settings
from pipeline_assets_tests.support.deployed_stack import configured
from pipeline_assets_tests.support.ministack import CREDENTIALS, MiniStack, ministack


@pytest.fixture(scope="module")
def emulator() -> Iterator[MiniStack]:
    with ministack() as running:
        yield running


@pytest.fixture
def aws(emulator: MiniStack, monkeypatch: pytest.MonkeyPatch) -> MiniStack:
    emulator.reset()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return emulator


@pytest.fixture
def settings(aws: MiniStack) -> Settings:
    return configured(aws)
