"""MiniStack, the AWS emulator of the tests: a process of a test's own on 127.0.0.1, with an empty temporary folder.

It runs in `.venv-ministack` (`make test` makes it), as it pins a botocore older than ours. What it is known to do and
not to do, with version 1.5.33:

- One port for every service, path-style addresses for S3; the access key `test` is the account's root.
- Objects are plain files, `objects / <account> / <bucket> / <key>`; earlier versions lie below `.versions`.
- CloudFormation creates every type that infra/template.yaml uses. It deletes a bucket with what it holds, where AWS
  refuses. `auth=True` enforces IAM policies, roles and bucket policies; without it everything is allowed.
- Firehose delivers each record at once as an object of its own: no buffering. Keys have Firehose's layout.
- A Glue job of type `glueetl` SUCCEEDS without running anything. `pythonshell` runs `python3 <script>`, arguments as
  environment variables without their dashes; `let_glue_jobs_run` builds on that, so that scripts really run with argv,
  one after the other in one process, which waits for Java once.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import pytest

from pipeline_assets_tests.support.glue_server import RUNTIME
from pipeline_assets_tests.support.job_process import JobProcess
from pipeline_assets_tests.support.postgres import dies_with_us, free_port

ACCOUNT, REGION = "000000000000", "eu-west-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
_CHECKOUT = Path(__file__).resolve().parents[2]
_PROGRAM = Path(os.environ.get("MINISTACK", _CHECKOUT / ".venv-ministack" / "bin" / "ministack"))


@dataclass(frozen=True)
class MiniStack:
    """A running emulator. `objects` is where objects lie as files, `log` what it wrote, `jobs` where jobs are sent."""

    url: str
    objects: Path
    log: Path
    jobs: Path
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it: the variables of AWS's own clients, and ours."""
        return {
            **CREDENTIALS,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "PIPELINE_AWS_REGION": REGION,
            "PIPELINE_AWS_ENDPOINT_URL": self.url,
            "PIPELINE_S3_ENDPOINT_URL": self.url,
        }

    def client(self, service: str, credentials: Mapping[str, str] | None = None) -> Any:
        """A boto3 client; `credentials` as STS gives them, or the root's."""
        import boto3

        keys = credentials or {"AccessKeyId": "test", "SecretAccessKey": "test"}
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys.get("SessionToken"),
        )

    def path(self, bucket: str, key: str = "") -> Path:
        """The plain file of an object."""
        return self.objects / ACCOUNT / bucket / key

    def outputs(self, stack: str = "pipeline-assets") -> dict[str, str]:
        """What a stack says of itself."""
        (found,) = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}

    def reset(self) -> None:
        """Forget everything; about a hundred times quicker than a new process."""
        request = urllib.request.Request(f"{self.url}/_ministack/reset", method="POST")
        with urllib.request.urlopen(request, timeout=30):
            pass

    def let_glue_jobs_run(self, job: str) -> None:
        """Make runs of a job execute its script with the Python of these tests; a stand-in for what Glue does.

        The script gets its arguments as argv and finds what --extra-py-files names, and S3 at this emulator. Call it
        after `deploy`, and again after each deployment that changes the job.
        """
        glue = self.client("glue")
        found = glue.get_job(JobName=job)["Job"]
        script = found["Command"]["ScriptLocation"]
        bucket, _, key = script.removeprefix("s3://").partition("/")
        stand_in = f"s3://{bucket}/stand-in/{key.rpartition('/')[2]}"
        self.client("s3").put_object(
            Bucket=bucket,
            Key=stand_in.removeprefix(f"s3://{bucket}/"),
            Body=_STAND_IN.format(script=key, jobs=str(self.jobs)).encode(),
        )
        command = {"Name": "pythonshell", "ScriptLocation": stand_in, "PythonVersion": "3"}
        arguments = found["DefaultArguments"]
        glue.update_job(
            JobName=job, JobUpdate={"Role": found["Role"], "Command": command, "DefaultArguments": arguments}
        )


# Arguments are what the emulator added to its own environment; names with a dash can be nothing else.
_STAND_IN = """\
import os, sys
from multiprocessing.connection import Client
from pathlib import Path

def variables(path):
    return dict(entry.split("=", 1) for entry in Path(path).read_text().split("\\0") if "=" in entry)

objects = Path(__file__).resolve().parents[1]
emulator = variables(f"/proc/{{os.getppid()}}/environ")
given = {{name: value for name, value in os.environ.items() if emulator.get(name) != value and name != "LC_CTYPE"}}
packages = [place.removeprefix("s3://") for place in given.get("extra-py-files", "").split(",") if place]
arguments = [word for name, value in given.items() for word in ("--" + name, value)]
with Client({jobs!r}, "AF_UNIX") as jobs:
    jobs.send((str(objects / {script!r}), arguments, [str(objects.parent / package) for package in packages]))
    code, log = jobs.recv()
print(log)
sys.exit(code)
"""


def requires_ministack() -> None:
    """Skip the calling test, or fail it under CI=true, where the emulator is not installed."""
    if _PROGRAM.exists():
        return
    message = "MiniStack is missing. To run this test: make .venv-ministack, or set MINISTACK to the program."
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@contextmanager
def ministack(*, auth: bool = False) -> Iterator[MiniStack]:
    """An emulator with nothing in it, gone at the end with all it held; `auth` has it enforce permissions."""
    requires_ministack()
    folder = Path(tempfile.mkdtemp(prefix="ministack-"))
    port, log, objects, jobs = free_port(), folder / "log", folder / "objects", folder / "jobs"
    objects.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PIPELINE_"))}
    environment |= CREDENTIALS | {
        # Jobs run `python3`: that of these tests, with pyspark and all. The emulator itself is found by its path.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AUTH": str(auth).lower(),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(objects),
        "TMPDIR": str(folder),
        "LOG_LEVEL": "WARNING",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
    }
    with open(log, "wb") as output:
        process = subprocess.Popen(
            dies_with_us([str(_PROGRAM)], "KILL"), env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log)
        with _running_jobs(jobs, environment | {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": REGION} | RUNTIME):
            yield MiniStack(url, objects, log, jobs, process.pid)
    finally:
        process.send_signal(signal.SIGKILL)  # it has nothing to save
        process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running_jobs(address: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run the jobs that stand-ins send to an address, one after the other (see `job_process`)."""
    listener, processes = Listener(str(address), "AF_UNIX"), []

    def serve() -> None:
        while True:
            with listener.accept() as stand_in:
                if (order := stand_in.recv()) is None:
                    return
                script, arguments, path = order
                processes[:] = processes or [JobProcess(environment)]
                log = address.with_name("job-log")
                job = processes[0].start(script, arguments, log, path)
                job.wait()
                stand_in.send((job.returncode, log.read_text(errors="replace")))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
        with Client(str(address), "AF_UNIX") as last:
            last.send(None)
        thread.join(timeout=30)
        listener.close()


def _wait_until_ready(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):  # not listening yet
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
