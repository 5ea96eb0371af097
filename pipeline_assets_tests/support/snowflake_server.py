"""An account of Snowflake for tests: fakesnow's HTTP server, and what it lacks of an account played around it.

    python -m pipeline_assets_tests.support.snowflake_server --admin ADMIN:<public key> --buckets <folder>
    python -m pipeline_assets_tests.support.snowflake_server --admin ADMIN:<public key> --s3 <endpoint url>

It prints its port and serves until it is ended. fakesnow 0.12 lets everybody in, has no roles, grants, warehouses,
policies or pipes, and reads stages only from disk. Here
- sign-in is checked: the token against the key that ALTER USER … SET RSA_PUBLIC_KEY gave (or `--admin`), the role
  against GRANT ROLE … TO USER, warehouse and database against what was created; refusals have Snowflake's numbers;
- statements that fakesnow does not know succeed and do nothing, but are kept (GET /test/statements);
- a stage on `s3://bucket/` reads `<folder>/bucket/`, or fetches from the endpoint;
- pipes are played: insertFiles really runs the COPY, on a connection of its own, and insertReport tells of it.
  POST /test/pipes {"outcome": …} makes them fail. That is our idea of Snowpipe, not Snowflake's;
- SELECT 'slow', n takes n seconds unless it is cancelled, which fakesnow's statements cannot be;
- LIST succeeds on any stage, and the current role and warehouse are those that the last sign-in asked for.
What nobody checks here is privileges: whoever is in may do everything.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gzip
import json
import logging
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_UNKNOWN_TO_FAKESNOW = re.compile(
    r"\s*(USE ROLE|GRANT|REVOKE|LIST"
    r"|CREATE (ROLE|WAREHOUSE|RESOURCE MONITOR|STORAGE INTEGRATION|MASKING POLICY|TAG|USER|PIPE)"
    r"|ALTER (WAREHOUSE|RESOURCE MONITOR|STORAGE INTEGRATION|STAGE|MASKING POLICY|USER)"
    r"|ALTER TABLE \S+ MODIFY COLUMN \S+ SET (MASKING POLICY|TAG))\b",
    re.IGNORECASE,
)
_TEXT = {"name": "status", "type": "text", "length": 16777216, "nullable": False, "precision": None, "scale": None}
_DONE = {"rowtype": [_TEXT], "rowset": [["Statement executed successfully."]], "total": 1, "queryId": "none"}


@dataclass
class Account:
    """What an account knows besides data."""

    keys: dict[str, str]
    roles: dict[str, set[str]] = field(default_factory=dict)
    warehouses: set[str] = field(default_factory=set)
    databases: set[str] = field(default_factory=set)
    pipes: dict[str, tuple[str, str]] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    sessions: list[dict] = field(default_factory=list)

    def remember(self, sql: str) -> None:
        """Keep what a statement changes of the account."""
        self.statements.append(sql)
        flat = " ".join(sql.split())
        if made := re.match(r"CREATE WAREHOUSE IF NOT EXISTS (\w+)", flat):
            self.warehouses.add(made[1])
        elif made := re.match(r"CREATE DATABASE IF NOT EXISTS (\w+)", flat):
            self.databases.add(made[1])
        elif made := re.match(r"ALTER USER (\w+) SET RSA_PUBLIC_KEY = '([^']*)'", flat):
            self.keys[made[1]] = made[2]
        elif made := re.match(r"GRANT ROLE (\w+) TO USER (\w+)", flat):
            self.roles.setdefault(made[2], set()).add(made[1])
        elif made := re.match(r"CREATE PIPE IF NOT EXISTS (\S+) .* COPY INTO (\S+) FROM @(\S+)", flat):
            self.pipes.setdefault(made[1], (made[2], made[3]))

    def refuses(self, sign_in: dict[str, Any], asked: dict[str, str]) -> tuple[str, str] | None:
        """(number, message) of why a sign-in is refused."""
        user = str(sign_in.get("LOGIN_NAME", "")).upper()
        if user not in self.keys and "TOKEN" not in sign_in:
            return "390100", "Incorrect username or password was specified."
        if not self.accepts(user, str(sign_in.get("TOKEN", ""))):
            return "390144", "JWT token is invalid. [0a1b2c3d]"
        role, warehouse, database = (asked.get(name) for name in ("roleName", "warehouse", "databaseName"))
        if role and role not in self.roles.get(user, ()):
            return "390189", f"Role '{role}' specified in the connect string does not exist or not authorized."
        if not sign_in["SESSION_PARAMETERS"].get("CLIENT_VALIDATE_DEFAULT_PARAMETERS"):
            return None  # Snowflake lets them in, and refuses their first statement
        if warehouse and warehouse not in self.warehouses:
            return "390201", f"The requested warehouse '{warehouse}' does not exist or not authorized."
        if database and database not in self.databases:
            return "390201", f"The requested database '{database}' does not exist or not authorized."
        return None

    def accepts(self, user: str, token: str) -> bool:
        import jwt
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        try:
            key = load_der_public_key(base64.b64decode(self.keys[user]))
            claims = jwt.decode(token, key, algorithms=["RS256"])  # type: ignore[arg-type]
        except (jwt.InvalidTokenError, KeyError, ValueError):
            return False
        return claims["sub"].endswith(f".{user}")


@dataclass
class Pipes:
    """Snowpipe, played: `outcome` is what happens to the next files."""

    account: Account
    outcome: str = "LOADED"
    reports: dict[str, list[dict]] = field(default_factory=dict)
    told: int = 0

    def load(self, pipe: str, path: str) -> None:
        from fakesnow.server import shared_fs

        table, stage = self.account.pipes[pipe]
        database, schema, name = table.split(".")
        reports = self.reports.setdefault(pipe, [])
        if any(entry["path"] == path for entry in reports) or self.outcome == "SILENT":
            return
        rows = 0
        if self.outcome != "LOAD_FAILED":
            cursor = shared_fs.connect(database, schema).cursor()
            cursor.execute(
                f"COPY INTO {name} FROM @{stage} FILES = ('{path}') FILE_FORMAT = (TYPE = PARQUET) "
                "MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE"
            )
            cursor.execute(f"UPDATE {name} SET _FILE = '{path}' WHERE _FILE IS NULL")
            if self.outcome in ("PARTIALLY_LOADED", "LOSES_ROWS"):
                cursor.execute(f"DELETE FROM {name} WHERE _FILE = '{path}' AND SALE_ID = 'a'")
            rows = cursor.execute(f"SELECT COUNT(*) FROM {name} WHERE _FILE = '{path}'").fetchone()[0]
        claimed = rows + {"LOSES_ROWS": 1, "MISCOUNTS": -1}.get(self.outcome, 0)
        status = "LOADED" if self.outcome in ("LOSES_ROWS", "MISCOUNTS") else self.outcome
        error = {} if status == "LOADED" else {"firstError": "Numeric value 'x' is not recognized", "errorsSeen": 1}
        reports.append({"path": path, "status": status, "rowsInserted": claimed, "complete": True, **error})


class Around:
    """The ASGI application in front of fakesnow's."""

    def __init__(self, account: Account) -> None:
        from fakesnow.server import app

        self.account, self.pipes, self.app = account, Pipes(account), app
        self.asked: dict[str, str] = {}  # at the last sign-in
        self.cancelled: set[str] = set()

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        from starlette.requests import Request
        from starlette.responses import JSONResponse

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        raw = await request.body()
        packed = request.headers.get("content-encoding") == "gzip"
        body = json.loads((gzip.decompress(raw) if packed else raw) or b"{}")
        answer = await self.slow(request, body) or self.answer(request, body)
        if answer is not None:
            await JSONResponse(answer[1], status_code=answer[0])(scope, receive, send)
            return

        if "sqlText" in body:
            body["sqlText"] = body["sqlText"].replace(" WITH MANAGED ACCESS", "")
            for name, asked in (("ROLE", "roleName"), ("WAREHOUSE", "warehouse")):
                now = f"'{self.asked.get(asked, '')}'"
                body["sqlText"] = body["sqlText"].replace(f"CURRENT_{name}()", now)
            raw = json.dumps(body).encode()
            scope["headers"] = [header for header in scope["headers"] if header[0] != b"content-encoding"]

        async def again() -> dict:
            return {"type": "http.request", "body": raw, "more_body": False}

        await self.app(scope, again, send)

    async def slow(self, request: Any, body: dict) -> tuple[int, dict] | None:
        """Our answer to a slow statement that was cancelled meanwhile."""
        if request.url.path == "/queries/v1/abort-request":
            self.cancelled.add(body["requestId"])
        elif found := re.fullmatch(r"SELECT 'slow', (\d+)", body.get("sqlText", "")):
            until = time.monotonic() + int(found[1])
            while time.monotonic() < until:
                await asyncio.sleep(0.05)
                if request.query_params["requestId"] in self.cancelled:
                    said = "SQL execution canceled"
                    return 200, {"data": {"sqlState": "57014"}, "code": "000604", "message": said, "success": False}
        return None

    def answer(self, request: Any, body: dict) -> tuple[int, dict] | None:
        """Our own answer, or None for fakesnow's."""
        path = request.url.path
        if path == "/session/v1/login-request":
            self.account.sessions.append(body["data"]["SESSION_PARAMETERS"])
            self.asked = dict(request.query_params)
            if refused := self.account.refuses(body["data"], dict(request.query_params)):
                return 200, {"data": None, "code": refused[0], "message": refused[1], "success": False}
        elif path == "/queries/v1/query-request":
            self.account.remember(body["sqlText"])
            if _UNKNOWN_TO_FAKESNOW.match(body["sqlText"]):
                return 200, {"data": _DONE, "success": True}
        elif path == "/test/statements":
            return 200, {"statements": self.account.statements, "sessions": self.account.sessions}
        elif path == "/test/pipes":
            self.pipes.outcome = body["outcome"]
            return 200, {}
        elif found := re.fullmatch(r"/v1/data/pipes/([\w.]+)/(insertFiles|insertReport)", path):
            return self.pipe(found[1], found[2], request.headers.get("authorization", ""), body)
        return None

    def pipe(self, pipe: str, what: str, authorization: str, body: dict) -> tuple[int, dict]:
        token = authorization.removeprefix("Bearer ")
        if not any(self.account.accepts(user, token) for user in self.account.keys):
            return 401, {"code": "390144"}
        if pipe not in self.account.pipes:
            return 404, {"code": "390404"}
        if what == "insertReport":
            return 200, {"pipe": pipe, "files": self.pipes.reports.get(pipe, [])}
        self.pipes.told += 1
        for file in body["files"]:
            self.pipes.load(pipe, file["path"])
        if self.pipes.outcome == "LOADED" and self.pipes.told % 2:
            return 503, {}  # it was told, and the answer got lost
        return 200, {"responseCode": "SUCCESS"}


def read_stages_from(folder: Path, s3: str | None) -> None:
    """Let stages on `s3://bucket/` read `folder/bucket/`, where `s3` is fetched to if it is given."""
    from fakesnow import copy_into

    theirs = copy_into._source_urls

    def ours(source: str, files: list[str]) -> list[str]:
        if not source.startswith("s3://"):
            return theirs(source, files)
        bucket = source.removeprefix("s3://").rstrip("/")
        for file in files:
            if s3:
                _fetch(s3, bucket, file, folder / bucket / file)
        return theirs(f"file://{folder}/{bucket}/", files)

    copy_into._source_urls = ours


def _fetch(s3: str, bucket: str, key: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_client(s3).get_object(Bucket=bucket, Key=key)["Body"].read())


@cache
def _client(s3: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=s3, region_name="eu-west-1")


def patch_fakesnows_server() -> None:
    """fakesnow 0.12 fails on a result in several record batches, parses statements twice and plans them again."""
    import importlib

    import fakesnow.cursor

    def columns(cursor: Any) -> list[tuple]:
        return [(name, str(kind), "YES", None, None, None) for name, kind, *_ in cursor._duck_conn.description]

    server = importlib.import_module("fakesnow.server")  # the package has a function of that name
    whole = server.to_ipc
    server.to_ipc = lambda table: whole(table.combine_chunks())
    server.parse_one = fakesnow.cursor.parse_one  # keeps what it has parsed, see `patched_emulator`
    fakesnow.cursor.FakeSnowflakeCursor._describe_last_sql = columns


def main() -> None:
    import socket

    import uvicorn

    from pipeline_assets.warehouse.emulator import patched_emulator, silence_warnings

    parser = argparse.ArgumentParser()
    parser.add_argument("--admin", required=True, help="USER:base64 of the public key")
    parser.add_argument("--buckets", type=Path)
    parser.add_argument("--s3")
    given = parser.parse_args()
    user, _, key = given.admin.partition(":")
    silence_warnings()
    logging.disable(logging.WARNING)
    with patched_emulator(), tempfile.TemporaryDirectory() as scratch:
        patch_fakesnows_server()
        read_stages_from(given.buckets or Path(scratch), given.s3)
        config = uvicorn.Config(Around(Account({user: key})), log_level="critical")
        listening = socket.create_server(("127.0.0.1", 0))
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(config).run([listening])


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[int]:
    """The server in a process of its own; gives its port."""
    command = [sys.executable, "-m", "pipeline_assets_tests.support.snowflake_server", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        _wait_for(port)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int) -> None:
    import socket

    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError("the server does not answer")


if __name__ == "__main__":
    main()
