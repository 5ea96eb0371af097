"""A home with the commerce pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_assets_tests.support.commerce_lake import CommerceLake


@pytest.fixture
def lake(tmp_path: Path) -> CommerceLake:
    return CommerceLake.with_tables(tmp_path / "home")
