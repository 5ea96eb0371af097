"""The platform follows from the settings."""

from __future__ import annotations

from pathlib import Path

from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.lake.archives import ArchiveLimits
from pipeline_assets.settings import load_settings


def test_the_limits_of_archives_are_settings(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, archive_max_entries=7, archive_max_bytes=8_000, archive_max_ratio=9.5)

    assert build_platform(settings).archive_limits == ArchiveLimits(entries=7, bytes=8_000, ratio=9.5)
