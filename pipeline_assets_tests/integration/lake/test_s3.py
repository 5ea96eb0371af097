"""S3 beyond what every store does: integrity, large objects, versions, refusals by name, many requests at once."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.batch.build_platform import build_platform
from pipeline_assets.engine.distributed import object_io
from pipeline_assets.errors import ConfigurationError, LakeError, ObjectChangedError
from pipeline_assets.lake import LandedObject, S3Lake, s3
from pipeline_assets.lake.notifications import EventQueue
from pipeline_assets.settings import load_settings
from pipeline_assets_tests.support import fault_proxy
from pipeline_assets_tests.support.fault_proxy import Call, FaultProxy, first, refuse, since
from pipeline_assets_tests.support.moto_aws import SECRET
from pipeline_assets_tests.support.object_stores import BUCKET, REGION


@pytest.fixture
def proxy(s3_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(s3_url) as proxy:
        yield proxy


@pytest.fixture
def lake(proxy: FaultProxy, s3: object) -> S3Lake:
    return S3Lake(region=REGION, endpoint_url=proxy.url, patience=5, timeout=10)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Three parts of an upload."""
    path = tmp_path / "big"
    path.write_bytes(os.urandom(2 * s3_chunk() + 1000))
    return path


def s3_chunk() -> int:
    return s3.CHUNK


def put(client: Any, key: str, body: bytes, **more: str) -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=body, **more)


def landed(lake: S3Lake, key: str) -> LandedObject:
    found = lake.head(f"s3://{BUCKET}/{key}")
    assert found is not None
    return found


def uploads(proxy: FaultProxy) -> list[Call]:
    return [call for call in proxy.calls if call.method == "PUT"]


# --- integrity -------------------------------------------------------------------------------------------------


def test_every_part_of_an_upload_carries_its_checksum(
    lake: S3Lake, proxy: FaultProxy, big: Path, tmp_path: Path
) -> None:
    """S3 compares them; a part that does not fit is refused."""
    lake.publish(big, BUCKET, "in/big")

    assert len(uploads(proxy)) == 3
    for call in uploads(proxy):
        headers = {name.lower(): value for name, value in call.headers.items()}
        assert headers["x-amz-checksum-sha256"] == base64.b64encode(hashlib.sha256(call.body).digest()).decode()
    assert lake.fetch(landed(lake, "in/big"), tmp_path).read_bytes() == big.read_bytes()


def test_a_part_that_is_damaged_on_its_way_leaves_no_object(lake: S3Lake, proxy: FaultProxy, big: Path) -> None:
    proxy.reset(first(1, fault_proxy.damage_upload, lambda call: call.method == "PUT"))

    with pytest.raises(LakeError, match="writing"):
        lake.publish(big, BUCKET, "in/big")
    assert lake.head(f"s3://{BUCKET}/in/big") is None


def test_our_own_large_objects_are_checked_on_reading_though_their_etag_is_no_md5(
    lake: S3Lake, proxy: FaultProxy, big: Path, tmp_path: Path
) -> None:
    lake.publish(big, BUCKET, "in/big")
    proxy.reset(since(1, fault_proxy.damage))

    with pytest.raises(LakeError, match="does not match its checksum"):
        lake.fetch(LandedObject(f"s3://{BUCKET}/in/big", *identity(lake, proxy, "in/big")), tmp_path)


def identity(lake: S3Lake, proxy: FaultProxy, key: str) -> tuple:
    rule, proxy.rule = proxy.rule, lambda call: None
    found = landed(lake, key)
    proxy.rule = rule
    return found.etag, found.size, found.modified


def test_a_checksum_of_the_producers_own_is_not_taken_for_ours(lake: S3Lake, s3: Any, tmp_path: Path) -> None:
    """It may be base64, or of the file before it was compressed."""
    put(s3, "in/theirs", b"content", Metadata={"sha256": base64.b64encode(b"theirs").decode()})
    assert lake.fetch(landed(lake, "in/theirs"), tmp_path).read_bytes() == b"content"


def test_an_etag_that_is_no_md5_is_no_evidence_of_damage(
    lake: S3Lake, proxy: FaultProxy, s3: Any, tmp_path: Path
) -> None:
    """Encryption by KMS gives such etags; other bytes than the etag's stand for them here."""
    put(s3, "in/a", b"encrypted", ServerSideEncryption="aws:kms")
    put(s3, "in/b", b"plain")
    a, b = landed(lake, "in/a"), landed(lake, "in/b")
    proxy.reset(lambda call: fault_proxy.damage if call.method == "GET" else None)

    assert len(lake.fetch(a, tmp_path).read_bytes()) == 9
    assert sum(call.method == "GET" for call in proxy.calls) == 1
    lake._etag_is_no_md5.clear()
    with pytest.raises(LakeError, match="in/b does not match its checksum"):
        lake.fetch(b, tmp_path)


def test_a_download_that_breaks_off_is_read_on_from_there(
    lake: S3Lake, proxy: FaultProxy, big: Path, tmp_path: Path
) -> None:
    lake.publish(big, BUCKET, "in/big")
    found = landed(lake, "in/big")
    proxy.reset(first(2, fault_proxy.truncate(0.4)))

    assert lake.fetch(found, tmp_path).read_bytes() == big.read_bytes()
    ranges = [{k.lower(): v for k, v in call.headers.items()}.get("range", "") for call in proxy.calls]
    assert [bool(part) for part in ranges] == [False, True, True]


# --- large objects ---------------------------------------------------------------------------------------------


def test_a_move_of_more_than_copyobject_takes_goes_in_parts_and_not_through_us(
    lake: S3Lake, proxy: FaultProxy, big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "COPY_LIMIT", 6 * s3.MIB)
    lake.publish(big, BUCKET, "in/big")
    proxy.reset()

    lake.move(BUCKET, "in/big", "out/big")

    assert len(uploads(proxy)) >= 3
    assert all(not call.body for call in uploads(proxy))
    assert not any(call.method == "GET" and call.key for call in proxy.calls)
    assert [entry.key for entry in lake.list_objects(BUCKET)] == ["out/big"]
    assert lake.fetch(landed(lake, "out/big"), tmp_path).read_bytes() == big.read_bytes()


def test_what_was_copied_short_is_not_deleted(lake: S3Lake, proxy: FaultProxy, s3: Any) -> None:
    """Copy, verify, delete: S3 can answer a copy with 200 and an error in the body."""
    put(s3, "in/a", b"x")
    failed = refuse(200, "AccessDenied")
    proxy.reset(lambda call: failed if call.method == "PUT" else None)

    with pytest.raises(LakeError, match="out/a"):
        lake.move(BUCKET, "in/a", "out/a")
    proxy.reset()
    assert [entry.key for entry in lake.list_objects(BUCKET)] == ["in/a"]


# --- versions --------------------------------------------------------------------------------------------------


@pytest.fixture
def versioned(s3: Any, s3_url: str) -> Iterator[None]:
    import boto3

    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    yield
    boto3.resource("s3", endpoint_url=s3_url, region_name=REGION).Bucket(BUCKET).object_versions.delete()


@pytest.mark.usefixtures("versioned")
def test_in_a_versioned_bucket_the_listed_version_is_read_or_the_change_noticed(
    lake: S3Lake, s3: Any, tmp_path: Path
) -> None:
    put(s3, "in/a", b"one")
    (before,) = lake.list_objects(BUCKET, "in/")
    assert lake.fetch(before, tmp_path).read_bytes() == b"one"
    put(s3, "in/a", b"two")

    with pytest.raises(ObjectChangedError):
        lake.fetch(before, tmp_path)
    assert lake.changed([before]) == [before]
    (after,) = lake.list_objects(BUCKET, "in/")
    assert lake.fetch(after, tmp_path).read_bytes() == b"two"


@pytest.mark.usefixtures("versioned")
def test_what_was_deleted_in_a_versioned_bucket_is_gone_for_us(lake: S3Lake, s3: Any, tmp_path: Path) -> None:
    put(s3, "staging/b/a", b"one")
    (listed,) = lake.list_objects(BUCKET, "staging/")

    assert lake.delete_prefix(BUCKET, "staging/") == 1

    assert list(lake.list_objects(BUCKET, "staging/")) == []
    assert lake.head(listed.uri) is None
    with pytest.raises(ObjectChangedError):
        lake.fetch(listed, tmp_path)
    assert lake.delete_prefix(BUCKET, "staging/") == 0


# --- refusals --------------------------------------------------------------------------------------------------

REFUSALS = {
    "no permission": (refuse(403, "AccessDenied", "Access Denied"), ["s3:GetObject", BUCKET, "Grant"]),
    "permission named": (
        refuse(403, "AccessDenied", "User: arn is not authorized to perform: kms:Decrypt on resource: arn"),
        ["kms:Decrypt", "Grant"],
    ),
    "no bucket": (refuse(404, "NoSuchBucket"), ["there is no bucket", BUCKET, "PIPELINE_BUCKET_PREFIX"]),
    "elsewhere": (refuse(301, "PermanentRedirect"), [BUCKET, REGION, "PIPELINE_AWS_REGION"]),
    "elsewhere, told": (
        refuse(400, "AuthorizationHeaderMalformed", "the region 'eu-west-1' is wrong; expecting 'us-east-2'"),
        [BUCKET, "us-east-2", "PIPELINE_AWS_REGION"],
    ),
    "expired": (fault_proxy.EXPIRED, ["expired", "Renew"]),
    "unknown key": (refuse(403, "InvalidAccessKeyId"), ["does not accept the credentials", "AWS_ACCESS_KEY_ID"]),
    "bad signature": (refuse(403, "SignatureDoesNotMatch"), ["does not accept the credentials"]),
    "clock": (refuse(403, "RequestTimeTooSkewed"), ["clock"]),
    "archived": (refuse(403, "InvalidObjectState", "The operation is not valid"), ["archived", "restore-object"]),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_names_the_object_and_the_remedy_on_one_line(
    lake: S3Lake, proxy: FaultProxy, s3: Any, tmp_path: Path, refusal: str
) -> None:
    put(s3, "in/a", b"x")
    found = landed(lake, "in/a")
    fault, told = REFUSALS[refusal]
    proxy.reset(since(1, fault))

    with pytest.raises(ConfigurationError) as refused:
        lake.fetch(found, tmp_path)

    text = str(refused.value)
    assert all(word in text for word in ["in/a", *told])
    assert "\n" not in text
    assert SECRET not in text
    assert len(proxy.calls) == 1, "what only a person can clear is not repeated"


def test_an_archived_object_is_reported_by_a_task_of_spark_as_well(
    lake: S3Lake, proxy: FaultProxy, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, "in/a", b"x")
    proxy.reset(since(1, REFUSALS["archived"][0]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    object_io._client.cache_clear()
    try:
        with pytest.raises(ConfigurationError, match=f"reading s3://{BUCKET}/in/a: it is archived.*restore-object"):
            object_io.fetch(f"s3://{BUCKET}/in/a", tmp_path)
    finally:
        object_io._client.cache_clear()


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("sso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\nsso_start_url = https://x\n"
         "sso_region = eu-west-1", "aws sso login"),
        ("aws_access_key_id = AKIAEXAMPLE", "credentials"),
        ("credential_process = /bin/false", "credentials"),
    ],
)  # fmt: skip
def test_credentials_that_a_person_has_to_renew_are_reported_and_not_a_permission(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: str, told: str
) -> None:
    (tmp_path / "config").write_text(f"[default]\n{profile}\n")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for ask in (
        lambda: list(S3Lake(region=REGION, endpoint_url="http://127.0.0.1:1", patience=1).list_objects(BUCKET)),
        lambda: EventQueue(Aws(REGION, "http://127.0.0.1:1"), "http://127.0.0.1:1/1/q", "").poll(),
    ):
        with pytest.raises(ConfigurationError, match=told) as refused:
            ask()
        assert "permission" not in str(refused.value)


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        (lambda lake, path: list(lake.list_objects(BUCKET, "in/")), "s3:ListBucket"),
        (lambda lake, path: list(lake.list_batches(BUCKET, "in/")), "s3:ListBucket"),
        (lambda lake, path: lake.head(f"s3://{BUCKET}/in/a"), "s3:GetObject"),
        (lambda lake, path: lake.publish(path, BUCKET, "in/b"), "s3:PutObject"),
        (lambda lake, path: lake.delete([f"s3://{BUCKET}/in/a"]), "s3:DeleteObject"),
    ],
)
def test_the_permission_that_is_missing_is_named(
    lake: S3Lake, proxy: FaultProxy, tmp_path: Path, action: Any, permission: str
) -> None:
    (tmp_path / "source").write_text("x")
    proxy.reset(since(1, refuse(403, "AccessDenied", "Access Denied")))

    with pytest.raises(ConfigurationError, match=f"Grant {permission}"):
        action(lake, tmp_path / "source")


def test_without_credentials_it_says_which_are_missing(
    s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "absent"))

    with pytest.raises(ConfigurationError, match="AWS_PROFILE"):
        list(S3Lake(region=REGION, endpoint_url=s3_url).list_objects(BUCKET))


def test_credentials_are_found_where_boto3_finds_them(
    proxy: FaultProxy, s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """obstore itself knows no profiles."""
    (tmp_path / "credentials").write_text("[night]\naws_access_key_id = AKIANIGHT\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "night")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    list(S3Lake(region=REGION, endpoint_url=proxy.url).list_objects(BUCKET, "in/"))

    assert "AKIANIGHT" in str(proxy.calls[0].headers)


# --- at once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", ["fetch_all", "changed"])
def test_many_objects_are_asked_for_at_once(
    lake: S3Lake, proxy: FaultProxy, s3: Any, tmp_path: Path, many: str
) -> None:
    """Four requests wait for each other: one after the other they would wait for ever."""
    for number in range(4):
        put(s3, f"in/{number}", bytes([number]))
    found = list(lake.list_objects(BUCKET, "in/"))
    together = threading.Barrier(4, timeout=20)

    def meet(handler: Any, call: Call) -> None:
        together.wait()
        handler.answer(handler.forward(call))

    proxy.reset(since(1, meet))
    if many == "changed":
        assert lake.changed(found) == []
    else:
        assert [path.read_bytes() for path in lake.fetch_all(found, tmp_path)] == [bytes([n]) for n in range(4)]


def test_deleting_many_takes_one_request(lake: S3Lake, proxy: FaultProxy, s3: Any) -> None:
    for number in range(5):
        put(s3, f"in/{number}", b"x")
    proxy.reset()

    lake.delete([f"s3://{BUCKET}/in/{number}" for number in range(7)])

    assert [call.method for call in proxy.calls] == ["POST"]
    assert list(lake.list_objects(BUCKET, "in/")) == []


def test_the_patience_is_a_setting(tmp_path: Path) -> None:
    platform = build_platform(load_settings(home=tmp_path, profile="aws", s3_patience=7))

    assert platform.lake.patience == 7  # type: ignore[attr-defined]
