"""What a session tells the job that does its steps, and what it makes of an object that changed meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.engine import SourceFile
from pipeline_assets.engine.distributed.session import PlannedSession
from pipeline_assets.errors import ObjectChangedError
from pipeline_assets.lake import LandedObject
from pipeline_assets_tests.support.engine_session import PEOPLE, USUAL, landed

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = LandedObject("s3://bucket/landing/f", "identity", 7, WHEN)
PLACE = LandedObject("s3://bucket/processing/f", "copy", 99, WHEN)


class Runner:
    """Notes the steps and gives one response; files lie where S3 has them."""

    folder = "results"

    def __init__(self, response: dict[str, Any]) -> None:
        self.steps: list[Mapping[str, Any]] = []
        self._response = response

    def run(self, steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        self.steps += steps
        return self._response

    def upload(self, path: Path, name: str) -> str:
        return str(path)

    def source(self, file: SourceFile, name: str) -> str:
        return str(file.path) if file.path else (file.place or file.landed).uri

    def download(self, where: str, folder: Path) -> Path:
        return Path(where)


def test_an_object_is_read_as_the_version_that_lies_at_its_place(tmp_path: Path) -> None:
    runner = Runner({"changed": PLACE.uri})
    session = PlannedSession(runner, tmp_path, USUAL, "1GB")
    local = landed(tmp_path / "local", "ID\n1\n")
    plain_one = replace(PLACE, uri="s3://bucket/landing/plain")
    files = [SourceFile(None, IDENTITY, place=PLACE), SourceFile(None, plain_one), replace(local, place=PLACE)]
    session.read("people", PEOPLE, files)
    session.deduplicate("people")
    with pytest.raises(ObjectChangedError):
        session.outcomes("people")

    moved, plain, fetched = runner.steps[0]["files"]
    assert (moved["split"]["where"], moved["split"]["etag"], moved["split"]["size"]) == (PLACE.uri, "copy", 99)
    assert (moved["uri"], moved["etag"]) == (IDENTITY.uri, "identity")
    assert (plain["uri"], plain["split"]["etag"]) == (plain_one.uri, "copy")
    assert (fetched["split"]["etag"], fetched["split"]["size"]) == ("", 5)


@pytest.mark.parametrize(
    "response", [{"changed": PLACE.uri}, {"writes": {}, "inputs": {"people": {"outcomes": [{"changed": True}]}}}]
)
def test_an_object_that_changed_is_named_by_its_identity(tmp_path: Path, response: dict[str, Any]) -> None:
    """That is what the batch goes on without."""
    session = PlannedSession(Runner(response), tmp_path, USUAL, "1GB")
    session.read("people", PEOPLE, [SourceFile(None, IDENTITY, place=PLACE)])
    session.deduplicate("people")
    with pytest.raises(ObjectChangedError) as changed:
        session.outcomes("people")
    assert changed.value.uri == IDENTITY.uri
