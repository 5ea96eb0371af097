"""The servers that some tests need on this machine: whether they are here, and how they come here.

`python -m pipeline_assets_tests.support.servers` (a step of `make test`) installs what is missing with apt-get, as root
on Debian and nowhere else. A test calls `requires_server("postgresql")`, which skips it where the server is missing,
but fails it under CI=true: there, a skipped test is a test that nobody ever runs. The tests start their own servers in
temporary folders; the service that a Debian package sets up is never used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Server:
    """A Debian package and the programs of it that the tests run; some lie outside PATH."""

    package: str
    programs: tuple[str, ...]
    folders: str = "usr/sbin"

    def program(self, name: str) -> str | None:
        """Where a program lies: Debian's own folder first, as its newest version is the last by number."""
        found = sorted(Path("/").glob(f"{self.folders}/{name}"), key=_version)
        return str(found[-1]) if found else shutil.which(name)

    @property
    def present(self) -> bool:
        return all(self.program(name) for name in self.programs)


SERVERS: Mapping[str, Server] = {
    "postgresql": Server("postgresql", ("initdb", "postgres"), "usr/lib/postgresql/*/bin"),
    "mariadb": Server("mariadb-server", ("mariadbd", "mariadb-install-db")),
    "chromium": Server("chromium", ("chromium",)),
}


def requires_server(name: str) -> None:
    """Skip the calling test, or fail it under CI=true, unless the server is on this machine."""
    server = SERVERS[name]
    if server.present:
        return
    message = (
        f"{name} is missing. To run this test: apt-get install {server.package}, or `make test` as root on Debian."
    )
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def install_missing() -> int:
    """Install what is missing where we may; otherwise say what will be skipped. Returns the exit code."""
    missing = [server.package for server in SERVERS.values() if not server.present]
    if not missing:
        return 0
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"Not installed, and only root on Debian can: {', '.join(missing)}. The tests that need them skip.")
        return 0
    print(f"Installing {', '.join(missing)} for the tests …", flush=True)
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update", "--quiet"], install):
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if command is install and result.returncode == 0:
            return 0
    # Without a network the rest of the suite is still worth running; under CI the tests themselves fail.
    print(f"That did not work; the tests that need them skip.\n{result.stdout[-2000:]}")
    return 0


def _version(path: Path) -> list[int]:
    return [int(part) for part in path.parts if part.isdigit()]


if __name__ == "__main__":
    sys.exit(install_missing())
