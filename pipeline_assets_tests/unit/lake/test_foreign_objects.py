"""FAULTS 35: what lies in a local zone and cannot be read is listed with a reason, and hides nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import LocalStore

from pipeline_assets.errors import ObjectChangedError, PermanentLakeError, RejectedObjectError
from pipeline_assets.lake import KnownObjects, LandedObject, LocalLake, Zone
from pipeline_assets.lake.foreign import rejection
from pipeline_assets.lake.zone_poll import Cursor, poll_zone
from pipeline_assets_tests.support.foreign_objects import FOREIGN, make_foreign

BUCKET = "landing-bucket"
ZONE = Zone(BUCKET, "in/", "**/*.csv")


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "lake" / BUCKET / "in"
    folder.mkdir(parents=True)
    (folder / "good.csv").write_text("good")
    return folder


@pytest.fixture
def lake(tmp_path: Path) -> LocalLake:
    return LocalLake(tmp_path / "lake")


def listed(lake: LocalLake) -> dict[str, LandedObject]:
    return {landed.key: landed for landed in lake.list_objects(BUCKET, "in/")}


def arrivals(lake: LocalLake, folder: Path) -> list[LandedObject]:
    with KnownObjects(folder) as known:
        return known.arrivals(lake, {"zone": ZONE}).new["zone"]


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_object_is_listed_once_with_a_reason_and_a_stable_identity(
    lake: LocalLake, landing: Path, tmp_path: Path, kind: str
) -> None:
    make_foreign(landing, kind)

    (foreign,) = [landed for landed in arrivals(lake, tmp_path) if rejection(landed)]

    assert {landed.key for landed in arrivals(lake, tmp_path)} >= {"in/good.csv"}
    assert [landed for landed in arrivals(lake, tmp_path) if rejection(landed)] == [foreign]
    with pytest.raises(RejectedObjectError) as refused:
        lake.fetch(foreign, tmp_path)
    text = str(refused.value)
    assert text.isprintable()
    assert foreign.uri in text
    assert refused.value.remedy
    assert not refused.value.transient


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_poll_sees_a_foreign_object_come_and_go(lake: LocalLake, landing: Path, kind: str) -> None:
    before = poll_zone(lake, BUCKET, "in/", Cursor())
    made = make_foreign(landing, kind)
    after = poll_zone(lake, BUCKET, "in/", before)
    assert poll_zone(lake, BUCKET, "in/", after).changes == after.changes == before.changes + 1
    os.unlink(made)
    assert poll_zone(lake, BUCKET, "in/", after).digest == before.digest


names = st.binary(min_size=1, max_size=30).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..")
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sets(names, min_size=1, max_size=5))
def test_every_name_that_the_file_system_takes_is_listed_as_text_on_one_line(
    lake: LocalLake, landing: Path, some: set[bytes]
) -> None:
    made = [os.path.join(os.fsencode(landing), name + b".csv") for name in some]
    for path in made:
        Path(os.fsdecode(path)).write_text("x")
    try:
        found = [landed for landed in lake.list_objects(BUCKET, "in/") if not landed.key.endswith("good.csv")]
        assert len(found) == len(made)
        for landed in found:
            assert not set(landed.uri.encode()) & {*range(32), 127}
            assert rejection(landed) or lake.fetch(landed, landing).read_text() == "x"
        assert sum(batch.num_rows for batch in lake.list_batches(BUCKET, "in/")) == len(made) + 1
    finally:
        for path in made:
            os.unlink(path)


def test_versions_have_the_etags_that_ledgers_have_from_obstore(lake: LocalLake, landing: Path) -> None:
    (landing / "deep" / "er").mkdir(parents=True)
    (landing / "deep" / "er" / "ä b%41.csv").write_text("123")
    (landing / "link.csv").symlink_to("good.csv")
    os.utime(landing / "good.csv", ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))

    theirs = [
        LandedObject(f"lake://{BUCKET}/in/{m['path']}", (m["e_tag"] or "").strip('"'), m["size"], m["last_modified"])
        for page in obstore.list(LocalStore(landing))
        for m in page
    ]

    assert sorted(listed(lake).values(), key=lambda o: o.uri) == sorted(theirs, key=lambda o: o.uri)


@pytest.mark.parametrize("nanoseconds", [-(2**62), -1, 2**62])
def test_a_time_that_no_calendar_has_is_no_reason_to_stop(lake: LocalLake, landing: Path, nanoseconds: int) -> None:
    os.utime(landing / "good.csv", ns=(nanoseconds, nanoseconds))

    assert list(listed(lake)) == ["in/good.csv"]


def test_a_folder_that_is_a_link_to_its_parent_is_reported_and_not_followed_for_ever(
    lake: LocalLake, landing: Path, tmp_path: Path
) -> None:
    for folder, link in (("a", "../b"), ("b", "../a")):
        (landing / folder).mkdir()
        (landing / folder / f"{folder}.csv").write_text("x")
        (landing / folder / "link").symlink_to(link)

    found = arrivals(lake, tmp_path)

    assert [landed.key for landed in found if rejection(landed)] == ["in/b/link/link", "in/a/link/link"]
    assert {landed.key for landed in found if not rejection(landed)} >= {"in/a/a.csv", "in/b/b.csv", "in/good.csv"}


def test_files_that_vanish_while_they_are_listed_are_left_out(
    lake: LocalLake, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (landing / "folder").mkdir()
    (landing / "folder" / "a.csv").write_text("x")
    real = os.scandir

    def scandir(path: str) -> object:
        if os.path.basename(os.path.normpath(path)) == "folder":
            (landing / "folder" / "a.csv").unlink()
            (landing / "folder").rmdir()
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)

    assert list(listed(lake)) == ["in/good.csv"]


# --- rights: root may read everything, so another user lists ------------------------------------------------

_AS_NOBODY = """
import os, sys
from pathlib import Path
from pipeline_assets.errors import PermanentLakeError
from pipeline_assets.lake import LocalLake
from pipeline_assets.lake.foreign import rejection
lake = LocalLake(Path(sys.argv[1]))
os.setuid(65534)
try:
    for landed in lake.list_objects("landing-bucket", "in/"):
        print(landed.key, landed.etag.split(":")[1] if rejection(landed) else "readable")
except PermanentLakeError as error:
    print("stopped:", error)
"""


def as_nobody(lake: LocalLake) -> dict[str, str]:
    """What a user without rights finds: key and fault."""
    for folder in [lake.root, *lake.root.parents]:  # pytest's folders are for their owner only
        if folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(lake.root)], capture_output=True, text=True, check=True
    )
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
class TestRights:
    def test_a_file_without_rights_is_foreign_until_rights_are_given(self, lake: LocalLake, landing: Path) -> None:
        (landing / "secret.csv").write_text("x")
        (landing / "secret.csv").chmod(0o600)
        assert as_nobody(lake) == {"in/good.csv": "readable", "in/secret.csv": "permission"}
        (landing / "secret.csv").chmod(0o644)
        assert as_nobody(lake) == {"in/good.csv": "readable", "in/secret.csv": "readable"}

    def test_a_folder_without_rights_is_foreign_and_so_is_a_file_that_nobody_may_reach(
        self, lake: LocalLake, landing: Path
    ) -> None:
        for name, mode in (("closed", 0o700), ("unlisted", 0o711), ("unreachable", 0o744)):
            (landing / name).mkdir()
            (landing / name / "a.csv").write_text("x")
            (landing / name).chmod(mode)
        assert as_nobody(lake) == {
            "in/good.csv": "readable",
            "in/closed": "folder-permission",
            "in/unlisted": "folder-permission",
            "in/unreachable/a.csv": "permission",
        }

    def test_a_zone_that_cannot_be_listed_at_all_is_a_permanent_error(self, lake: LocalLake, landing: Path) -> None:
        landing.chmod(0o700)
        assert "listing lake://landing-bucket/in/" in as_nobody(lake)["stopped:"]


# --- reading, writing, folders ------------------------------------------------------------------------------


def test_an_object_that_vanished_before_it_is_read_is_changed(lake: LocalLake, landing: Path, tmp_path: Path) -> None:
    (landed,) = listed(lake).values()
    (landing / "good.csv").unlink()
    with pytest.raises(ObjectChangedError):
        lake.fetch(landed, tmp_path)


def test_what_cannot_be_written_is_permanent(lake: LocalLake, landing: Path, tmp_path: Path) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: lake.publish(tmp_path / "source", BUCKET, "in/good.csv/below"),
        lambda: lake.publish(tmp_path / "source", BUCKET, "in/" + "n" * 300),
        lambda: lake.publish(tmp_path / "source", BUCKET, "in"),
    ]
    for attempt in attempts:
        (tmp_path / "source").write_text("x")
        with pytest.raises(PermanentLakeError) as refused:
            attempt()
        assert "\n" not in str(refused.value)
        assert refused.value.remedy
        assert not refused.value.transient


def test_a_zone_that_is_a_file_cannot_be_listed_and_is_not_empty(lake: LocalLake, landing: Path) -> None:
    (landing / "good.csv").unlink()
    landing.rmdir()
    assert listed(lake) == {}
    landing.write_text("a file in place of the folder")

    with pytest.raises(PermanentLakeError):
        listed(lake)
