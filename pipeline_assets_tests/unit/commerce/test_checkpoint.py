"""The producer's checkpoint: who may use it, what it survives, and that it holds no values."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipeline_assets.commerce.checkpoint import Checkpoint, KnownFile, Mark, Position, ProducerRunningError
from pipeline_assets.commerce.producer import deliver_once
from pipeline_assets.errors import ConfigurationError, LakeError
from pipeline_assets_tests.support.watched_files import SHOP, WatchedFiles

KNOWN = KnownFile("/shop/customers.csv", 7, Position(9, Mark(9, "a"), Mark(5, "b")), 1.5)


def test_a_saved_checkpoint_is_read_back(tmp_path: Path) -> None:
    with Checkpoint(tmp_path).locked() as checkpoint:
        checkpoint.save({"customers": [KNOWN], "orders": []})
        checkpoint.save({"orders": [KNOWN, KNOWN]})
    with Checkpoint(tmp_path).locked() as checkpoint:
        assert checkpoint.files("customers") == [KNOWN]
        assert checkpoint.files("orders") == [KNOWN, KNOWN]
        assert checkpoint.files("other") == []


def test_a_second_producer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with Checkpoint(tmp_path).locked():
        second, message = Checkpoint(tmp_path), "Another producer uses the checkpoint in "
        with pytest.raises(ProducerRunningError, match=message) as refused, second.locked():
            pass
        assert refused.value.remedy
    with Checkpoint(tmp_path).locked():
        pass


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"files": {"customers": [{}]}}', '{"files": {"customers": 3}}', '{"files": []}']
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "checkpoint.json").write_text(text)
    with pytest.raises(ConfigurationError, match="is damaged"), Checkpoint(tmp_path).locked():
        pass


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Checkpoint(tmp_path).locked() as checkpoint:
        checkpoint.save({"customers": [KNOWN]})
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(LakeError, match="No space left on device"):
                checkpoint.save({"customers": []})
    with Checkpoint(tmp_path).locked() as checkpoint:
        assert checkpoint.files("customers") == [KNOWN]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "producer").write_text("")
    with (
        pytest.raises(ConfigurationError, match="cannot be used: File exists"),
        Checkpoint(tmp_path / "producer").locked(),
    ):
        pass


def test_the_checkpoint_holds_no_values(tmp_path: Path) -> None:
    watched = WatchedFiles(tmp_path)
    watched.append("1,Alice\n")
    watched.deliver()
    assert "Alice" not in (tmp_path / "producer" / "checkpoint.json").read_text()


def test_a_full_disk_behind_the_delivery_repeats_records_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = WatchedFiles(tmp_path)
    watched.append("1,a\n")

    save = Checkpoint.save

    def full(checkpoint: Checkpoint, files: dict[str, list[KnownFile]]) -> None:
        if any(file.position.offset for file in files["customers"]):
            raise LakeError("full")
        save(checkpoint, files)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", full)
        with pytest.raises(LakeError):
            watched.deliver_once()
    assert watched.stored == [b"1,a"]
    assert watched.deliver_once() == [b"1,a", b"1,a"]


def test_streams_that_the_pipeline_does_not_have_are_named(tmp_path: Path) -> None:
    delivery = WatchedFiles(tmp_path).delivery
    wrong = type(delivery)({"customer": "/shop/*.csv"}, delivery.folder, delivery.open_writer)
    with pytest.raises(ConfigurationError, match=r"unknown streams: customer\. The streams are customers\."):
        deliver_once(wrong, SHOP)
