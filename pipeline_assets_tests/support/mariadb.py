"""A MariaDB server of the tests' own: a fresh data folder, on 127.0.0.1 and a free port, one for each process.

Never the machine's own service. It ends with the process that started it; each test has a database of its own.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_assets_tests.support.postgres import dies_with_us, free_port
from pipeline_assets_tests.support.servers import SERVERS

if TYPE_CHECKING:
    from pymysql.connections import Connection

USER, PASSWORD = "loader", "s3cret:@/%# not-to-be-shown"
_numbers = count(1)
_FAST = {
    "innodb_buffer_pool_size": "32M",
    "innodb_log_file_size": "16M",
    "innodb_flush_log_at_trx_commit": "0",
    "innodb_doublewrite": "0",
    "innodb_buffer_pool_dump_at_shutdown": "0",
    "performance_schema": "0",
    "max_allowed_packet": "16M",
    "table_open_cache": "400",
}


@dataclass(frozen=True)
class MariaDbServer:
    """A running server; `log` is what it wrote."""

    port: int
    folder: Path
    process: subprocess.Popen

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def connect(self, database: str = "", **options: Any) -> Connection:
        """A connection that commits each statement, with the character set utf8mb4."""
        import pymysql

        settings = {"charset": "utf8mb4", "autocommit": True, "connect_timeout": 10, **options}
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, database=database, **settings
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)


@dataclass(frozen=True)
class Database:
    """An empty database of a server."""

    server: MariaDbServer
    name: str

    @property
    def url(self) -> str:
        """What SQLAlchemy takes."""
        from sqlalchemy.engine import URL

        url = URL.create("mysql", USER, PASSWORD, "127.0.0.1", self.server.port, self.name)
        return url.render_as_string(hide_password=False)

    def connect(self, **options: Any) -> Connection:
        return self.server.connect(self.name, **options)

    def run(self, *statements: str) -> None:
        """Statements without parameters, each committed."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def insert(self, table: str, rows: Sequence[Sequence[object]]) -> None:
        values = ", ".join(["%s"] * len(rows[0]))
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} VALUES ({values})", rows)

    def rows(self, sql: str, **options: Any) -> list[tuple]:
        with self.connect(**options) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def load(self, *scripts: Path) -> None:
        """Run SQL files with the `mariadb` client, which reads DELIMITER and comments for certain versions."""
        client = ["mariadb", "--no-defaults", "--host=127.0.0.1", f"--port={self.server.port}", f"--user={USER}"]
        for script in scripts:
            with open(script, "rb") as statements:
                subprocess.run(
                    [*client, f"--database={self.name}", "--default-character-set=utf8mb4"],
                    env=os.environ | {"MYSQL_PWD": PASSWORD},
                    stdin=statements,
                    check=True,
                )


def load_sakila(database: Database, dump: Path, scratch: Path) -> None:
    """Load the Sakila dump in the folder `dump` into a database of any name."""
    for part in ("schema", "data"):
        script = (dump / f"sakila-mv-{part}.sql").read_text(encoding="utf-8")
        # MariaDB ignores what is for MySQL 5.7 and later: the column `location` of addresses.
        script = re.sub(r"/\*!50705 (.*?)\*/", r"\1", script)
        script = re.sub(r"(?im)^(drop|create) schema.*|^use sakila;", "", script).replace("sakila.", "")
        (scratch / part).write_text(script, encoding="utf-8")
        database.load(scratch / part)


@cache
def shared_server() -> MariaDbServer:
    """The server of this process, which ends with it."""
    started = mariadb_server()
    server = started.__enter__()
    atexit.register(started.__exit__, None, None, None)
    return server


@contextmanager
def mariadb_database(server: MariaDbServer | None = None) -> Iterator[Database]:
    """An empty database, dropped at the end; of the server of this process, unless another one is given."""
    database = Database(server or shared_server(), f"shop_{next(_numbers)}")
    with database.server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {database.name} CHARACTER SET utf8mb4")
    try:
        yield database
    finally:
        if database.server.process.poll() is None:
            with database.server.connect() as connection, connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {database.name}")


@contextmanager
def mariadb_server() -> Iterator[MariaDbServer]:
    """A server without databases, gone at the end with all it held."""
    folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
    try:
        install_data(folder / "data")
        with running_server(folder / "data", folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install_data(data: Path) -> None:
    """Make the data folder of a server without databases, a copy of the first one of this process."""
    shutil.copytree(_installed(), data)


@cache
def _installed() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mariadb-data-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    data = folder / "data"
    install = [_program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", *_user()]
    subprocess.run(
        [*install, "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=16M"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return data


@contextmanager
def running_server(data: Path, folder: Path, **options: str) -> Iterator[MariaDbServer]:
    """A server over a data folder; socket and log are in `folder`, and `options` are added to the fast ones."""
    port = free_port()
    chosen = [f"--{name}={value}" for name, value in (_FAST | options).items()]
    paths = [f"--datadir={data}", f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"]
    with open(folder / "log", "wb") as output:
        command = [_program("mariadbd"), "--no-defaults", *_user(), *paths, *chosen]
        process = subprocess.Popen(
            dies_with_us([*command, f"--port={port}", "--bind-address=127.0.0.1"], "KILL"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = MariaDbServer(port, folder, process)
    try:
        _create_user(server)
        yield server
    finally:
        server.kill()


def certificates(folder: Path, host: str) -> tuple[Path, Path, Path]:
    """A certificate authority of its own, and the certificate and key of a server that it signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir(exist_ok=True)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("authority", host)]
    now = datetime.now(UTC)
    paths = (folder / "authority.pem", folder / "server.pem", folder / "server.key")
    for name, key, path, is_authority in zip(names, keys, paths, (True, False), strict=False):
        builder = (
            x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        )
        path.write_bytes(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.TraditionalOpenSSL
    paths[2].write_bytes(keys[1].private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return paths


def _user() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []  # it refuses root that nobody asked for


def _program(name: str) -> str:
    program = SERVERS["mariadb"].program(name)
    assert program, f"{name} is missing; the test should have called requires_server"
    return program


def _create_user(server: MariaDbServer) -> None:
    """Wait until the server accepts connections, and create the user of the tests."""
    import pymysql

    deadline = time.monotonic() + 60
    while True:
        assert server.process.poll() is None, server.log.read_text()
        try:
            connection = pymysql.connect(unix_socket=str(server.folder / "socket"), user="root", autocommit=True)
            break
        except pymysql.OperationalError:  # not listening yet
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.05)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER IF NOT EXISTS %s@'%%' IDENTIFIED BY %s", (USER, PASSWORD))
        cursor.execute("GRANT ALL ON *.* TO %s@'%%' WITH GRANT OPTION", (USER,))
