"""The Glue job does what the embedded engine does: files in S3, a job in a process of its own, all over HTTP.

S3 is moto's, Glue is `glue_server`, which really runs the script that Glue would run. No real Glue was ever asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets.aws import Aws
from pipeline_assets.contracts import Contract
from pipeline_assets.engine import Session, SourceFile
from pipeline_assets.engine.glue.engine import _FOLDER as PLACE
from pipeline_assets.engine.glue.engine import GlueEngine, _GlueRunner
from pipeline_assets.engine.glue.job import GlueJob
from pipeline_assets.errors import EngineError, ObjectChangedError
from pipeline_assets.lake import S3Lake
from pipeline_assets_tests.integration.engine.test_spark_agrees import DUCKDB, looked_at
from pipeline_assets_tests.integration.engine.test_versions import HEADER, VISIT_HEADER, known, waiting
from pipeline_assets_tests.support.dialect_files import contract, written
from pipeline_assets_tests.support.engine_session import NEVER, PEOPLE, USUAL, VISITS, landed
from pipeline_assets_tests.support.glue_server import GlueServer, glue_server
from pipeline_assets_tests.support.moto_aws import REGION, buckets_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BUCKET, ARTIFACTS = "landing-bucket", "artifacts-bucket"


class Stage:
    """One account: S3, Glue, an engine on both."""

    def __init__(self, moto: str, client: Any, server: GlueServer, *, split_bytes: int = 1 << 20) -> None:
        self.client = client
        self.lake = S3Lake(region=REGION, endpoint_url=moto)
        self.server = server
        job = GlueJob(Aws(REGION, server.url), "pipeline-spark", 200, sleep=lambda seconds: _nap())
        self.engine = GlueEngine(
            job=job,
            lake=self.lake,
            s3=Aws(REGION, moto),
            bucket=ARTIFACTS,
            memory_limit="1GB",
            split_bytes=split_bytes,
        )

    def landed(self, file: SourceFile) -> SourceFile:
        """The same object, in S3."""
        assert file.path is not None
        key = f"raw/{file.path.name}"
        self.client.put_object(Bucket=BUCKET, Key=key, Body=file.path.read_bytes())
        found = self.lake.head(f"s3://{BUCKET}/{key}")
        assert found is not None
        return SourceFile(None, found)

    def left(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=ARTIFACTS)
        return [entry["Key"] for entry in found.get("Contents", ())]


def _nap() -> None:
    """The server's own process is busy with the job; a poll a second is what a test can bear."""
    import time

    time.sleep(0.2)


@pytest.fixture
def stage(moto_url: str, aws_keys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with (
        buckets_in(moto_url, BUCKET, ARTIFACTS) as client,
        glue_server(tmp_path, {"AWS_ENDPOINT_URL_S3": moto_url}) as server,
    ):
        yield Stage(moto_url, client, server, split_bytes=3000)


def content(count: int) -> str:
    """Visits with line ends in quotes, bad rows and orphans, large enough to be cut into parts."""
    lines = [VISIT_HEADER]
    for number in range(count):
        person = "nobody" if number % 50 == 7 else "1"
        amount = "x" if number % 40 == 3 else f"{number}.5"
        lines.append(f'v{number},{person},"{number % 28 + 1:02}-01-2026",{amount}')
        if number % 60 == 11:
            lines.append(f'"v\n{number}",1,,1')
            lines.append("too,few")
    return "\n".join(lines) + "\n"


def in_dialects(folder: Path) -> list[tuple[Contract, SourceFile]]:
    """One file that is cut into parts, and one that cannot be cut, each in a dialect of its own."""
    lines = replace(contract("latin-1 without header"), name="lines")
    texts = [(str(n), f"Zoë; {n}\nMüller", "NULL" if n % 3 else "x") for n in range(400)]
    content = written([*texts, "2,few", ("too long a key", "", "")], lines.dialect, uploaded=True).content
    others = replace(contract("backslashes without header"), name="others")
    other = written([(str(n), 'a\\"b\n', "\\N") for n in range(400)], others.dialect).content
    return [(lines, landed(folder / "lines", content)), (others, landed(folder / "others", other))]


def work(
    session: Session,
    people: list[SourceFile],
    visits: list[SourceFile],
    dialects: list[tuple[Contract, SourceFile]],
    published: Path,
    folder: Path,
) -> Any:
    session.read("people", PEOPLE, people)
    session.read("visits", VISITS, visits)
    keys = session.write("SELECT ID AS KEY_VALUE FROM people", folder / "keys.parquet", "parquet")
    assert keys.rows  # the look-up of published rows asks before anything else can be planned
    session.table("PUBLISHED", published)
    session.add_published("people", "SELECT * FROM PUBLISHED")
    session.deduplicate("people")
    session.deduplicate("visits")
    for its, file in dialects:
        session.read(its.name, its, [file])
        session.deduplicate(its.name)
    names = ["people", "visits", *(its.name for its, _ in dialects)]
    return looked_at(session, names, {name: f"SELECT * FROM {name}" for name in names}, folder)


def test_a_glue_job_comes_to_what_duckdb_comes_to(stage: Stage, tmp_path: Path) -> None:
    """Two runs of the job: one for the keys to look up, one for all the rest; nothing is left in the bucket.

    It reads an object where it was moved to, and tells of the one that landed. Parts of an object are read from S3 with
    ranges, in any dialect; the job gets its contracts as JSON.
    """
    files = [landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n2,Bob\n"), landed(tmp_path / "v", content(400))]
    held = waiting(tmp_path, ("q1", 7, 'w7,1,,"1"'), ("q2", 90, "w8,nobody,,1"))
    published = known(tmp_path, ("7", "Known", "x", 0))
    in_s3 = [stage.landed(file) for file in files]
    # The second one lies where it was moved to; its identity is the object that landed, which is gone.
    moved = in_s3[1].landed
    gone = replace(moved, uri=f"s3://{BUCKET}/landing/v", etag="as landed", modified=moved.modified - timedelta(days=1))
    in_s3[1] = SourceFile(None, gone, place=moved)
    locally = [SourceFile(file.path, there.landed) for file, there in zip(files, in_s3, strict=True)]
    dialects = in_dialects(tmp_path)
    dialects_in_s3 = [(its, stage.landed(file)) for its, file in dialects]
    dialects = [
        (its, replace(there, path=file.path)) for (its, file), (_, there) in zip(dialects, dialects_in_s3, strict=True)
    ]
    found = {}
    for name, engine, (people, visits), delimited in (
        ("glue", stage.engine, in_s3, dialects_in_s3),
        ("duckdb", DUCKDB, locally, dialects),
    ):
        folder = tmp_path / name
        folder.mkdir()
        with engine.session(folder / "scratch", NEVER) as session:
            found[name] = work(session, [people], [visits, held], delimited, published, folder)

    for key, expected in found["duckdb"].items():
        assert found["glue"][key] == expected, key
    assert len(found["glue"]["visits: bad"]) > 20
    assert (len(found["glue"]["lines"]), len(found["glue"]["others"])) == (400, 400)
    assert [bad["line"] for bad in found["glue"]["lines: bad"]] == [802, 803]
    assert {row["_SOURCE_URI"] for row in found["glue"]["visits"]} > {gone.uri}
    assert len(stage.server.runs) == 2
    assert stage.left() == []


def test_an_attempt_that_died_is_taken_up_where_it_was(stage: Stage, tmp_path: Path) -> None:
    """The job went on without us; the next attempt makes the same plan, and takes its response without another run.

    The note that lists the files that a job kept may be left alone by the bucket's lifecycle: if some of the files are
    gone, they are read again.
    """
    people = stage.landed(landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n{'2' * 9},too long,\n3,Cy,\n"))

    def attempt(name: str, ends: bool = True) -> tuple:
        with stage.engine.session(tmp_path / name, USUAL) as session:
            session.read("people", PEOPLE, [people])
            session.deduplicate("people")
            found = session.write("SELECT * FROM people", tmp_path / f"{name}.parquet", "parquet")
            assert found.rows == 2
            outcomes = [(outcome.read, outcome.loaded) for outcome in session.outcomes("people")]
            reported = [(bad.line, bad.raw, bad.code) for bad in session.bad_records("people")]
            if not ends:
                raise ConnectionAbortedError  # anything that ends the process after the job, before anything is cleared
            return outcomes, reported

    expected = [(3, 2)], [(3, f"{'2' * 9},too long,", "too_long")]
    with pytest.raises(ConnectionAbortedError):
        attempt("first", ends=False)
    left = {key: stage.client.get_object(Bucket=ARTIFACTS, Key=key)["Body"].read() for key in stage.left()}
    assert attempt("second") == expected
    assert len(stage.server.runs) == 1

    assert stage.left() == []
    kept = [key for key in left if "/people/first/" in key]
    notes = [key for key in kept if not key.endswith(".parquet")]
    assert (len(notes), len(kept)) == (1, 2)
    for key, body in left.items():
        if "/response-" not in key and (key not in kept or key in notes):
            stage.client.put_object(Bucket=ARTIFACTS, Key=key, Body=body)
    assert attempt("third") == expected
    assert len(stage.server.runs) == 2


class Answers:
    """A job that leaves one result and the bad records of one input, as often as it is run."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.plans: list[str] = []

    def run(self, plan: str, response: str) -> str:
        self.plans.append(plan)
        left = {kind: f"{plan}-{kind}.parquet" for kind in ("result", "bad")}
        reported = {"inputs": {"x": {"bad": [left["bad"]]}}, "writes": {"result-1": {"files": [left["result"]]}}}
        for where, body in (*((place, b"PAR1") for place in left.values()), (response, json.dumps(reported).encode())):
            self.client.put_object(Bucket=ARTIFACTS, Key=where.split("/", 3)[3], Body=body)
        return f"jr_{len(self.plans)}"


@pytest.mark.parametrize("gone", ["result", "bad"])
def test_an_answer_whose_files_are_gone_is_not_taken(moto_url: str, aws_keys: None, gone: str) -> None:
    """The bucket's lifecycle takes objects by their age, one at a time."""
    with buckets_in(moto_url, ARTIFACTS) as client:
        job, lake = Answers(client), S3Lake(region=REGION, endpoint_url=moto_url)

        def attempt() -> dict[str, str]:
            runner = _GlueRunner(job, lake, lambda: client, ARTIFACTS, USUAL, 1 << 20)
            response = runner.run([{"do": "write", "name": "result-1", "select": "SELECT 1", "where": f"{PLACE}/x"}])
            return {"result": response["writes"]["result-1"]["files"][0], "bad": response["inputs"]["x"]["bad"][0]}

        left = attempt()
        assert (attempt(), len(job.plans)) == (left, 1)
        client.delete_object(Bucket=ARTIFACTS, Key=left[gone].split("/", 3)[3])
        assert (attempt(), job.plans) == (left, [job.plans[0]] * 2)


def test_other_published_rows_are_another_plan(moto_url: str, aws_keys: None, tmp_path: Path) -> None:
    """Rows that another batch published in between: the response to the old ones must not be taken for the new."""
    rows = tmp_path / "published.parquet"
    with buckets_in(moto_url, ARTIFACTS) as client:
        job, lake = Answers(client), S3Lake(region=REGION, endpoint_url=moto_url)
        for content_ in (b"old", b"old", b"new"):
            rows.write_bytes(content_)
            runner = _GlueRunner(job, lake, lambda: client, ARTIFACTS, USUAL, 1 << 20)
            where = runner.upload(rows, "published")
            runner.run([{"do": "table", "name": "published", "where": where}, {"do": "write", "name": "result-1"}])

    assert len(job.plans) == 2


def test_a_large_object_overwritten_after_it_was_listed_is_taken_by_the_next_run(stage: Stage, tmp_path: Path) -> None:
    """It is noticed where its parts are cut, in a task; the batch goes on without it."""
    place = stage.landed(landed(tmp_path / "v", content(300))).landed
    visits = SourceFile(None, replace(place, uri=f"s3://{BUCKET}/landing/v", etag="as landed"), place=place)
    stage.client.put_object(Bucket=BUCKET, Key="raw/v", Body=content(200).encode())

    def attempt() -> None:
        with stage.engine.session(tmp_path / "scratch", USUAL) as session:
            session.read("visits", VISITS, [visits])
            session.read("people", PEOPLE, [])
            session.deduplicate("people")
            session.deduplicate("visits")
            session.outcomes("visits")

    with pytest.raises(ObjectChangedError, match="landing/v was overwritten") as changed:
        attempt()
    assert changed.value.uri == visits.landed.uri
    assert not [key for key in stage.left() if "response" in key]  # the next attempt must ask again


def test_a_job_of_another_version_says_so(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline_assets.engine.distributed import plan

    people = stage.landed(landed(tmp_path / "p", f"{HEADER}\n1,Ada,\n"))
    monkeypatch.setattr(plan, "code_version", lambda: "older")

    def attempt() -> None:
        with stage.engine.session(tmp_path / "scratch", USUAL) as session:
            session.read("people", PEOPLE, [people])
            session.deduplicate("people")
            session.outcomes("people")

    with pytest.raises(EngineError, match=r"(?s)ended as FAILED.*different versions of pipeline_assets.*deploy aws"):
        attempt()
