"""A PostgreSQL server of a test's own: a fresh cluster in a temporary folder, on 127.0.0.1 and a free port.

Never the machine's own service. PostgreSQL refuses to run as root, so root runs it as the user that Debian's package
made, in a folder of that user's; pytest's own temporary folders are closed to others.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline_assets_tests.support.servers import SERVERS

USER, PASSWORD, DATABASE = "dagster", "not-to-be-shown-anywhere", "dagster"


@dataclass(frozen=True)
class PostgresServer:
    """Where a running server listens; `log` is what it wrote."""

    port: int
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """What infra/dagster.yaml asks for."""
        return {
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(self.port),
            "DAGSTER_POSTGRES_DB": DATABASE,
            "DAGSTER_POSTGRES_USER": USER,
            "DAGSTER_POSTGRES_PASSWORD": PASSWORD,
        }

    def rows(self, sql: str) -> list[tuple]:
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=DATABASE, connect_timeout=5
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()
        finally:
            connection.close()


def dies_with_us(command: list[str], signal: str) -> list[str]:
    """The command, told by the kernel to end when pytest ends in whatever way."""
    return ["setpriv", f"--pdeathsig={signal}", *command] if shutil.which("setpriv") else command


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server with one empty database, gone at the end with all it held."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    port, cluster, password, log = free_port(), folder / "cluster", folder / "password", folder / "log"
    password.write_text(PASSWORD)
    become: list[str] = []
    if os.geteuid() == 0:
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        for path in (folder, password):
            shutil.chown(path, "postgres", "postgres")
    try:
        initdb = _program("initdb")
        # Dagster connects anew for each query, and SCRAM takes longer than most of them.
        settings = ["-A", "md5", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [*become, initdb, "-D", cluster, "-U", USER, f"--pwfile={password}", *settings],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        arguments = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with open(log, "wb") as output:
            process = subprocess.Popen(
                dies_with_us([*become, _program("postgres"), "-D", str(cluster), *arguments], "QUIT"),
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _create_database(port, process, log)
            yield PostgresServer(port, log)
        finally:
            process.send_signal(3)  # SIGQUIT: at once, without the checkpoint that nobody will read
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    program = SERVERS["postgresql"].program(name)
    assert program, f"{name} is missing; the test should have called requires_server"
    return program


def _create_database(port: int, process: subprocess.Popen, log: Path) -> None:
    import psycopg2

    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        try:
            connection = psycopg2.connect(
                host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres", connect_timeout=5
            )
            break
        except psycopg2.OperationalError:  # not listening yet
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {DATABASE}")
    connection.close()
