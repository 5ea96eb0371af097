"""An HTTP proxy on 127.0.0.1 that does to S3 (or AWS, or Snowflake) what networks and busy services do.

It stands between a client and a real server (moto, fakesnow) and asks a `rule` about every request; without a fault the
request passes as it is. What stays out: any knowledge of what the client should do about it.

moto takes an upload without looking at its checksums. S3 does look, so `damage_upload` does in its place: a body that
no longer fits a digest in its own headers is answered with S3's 400, and one without a digest is stored damaged.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit


@dataclass
class Call:
    """One request; `number` counts from 1."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The key of an object, or "" for a request about a bucket."""
        return urlsplit(self.path).path.lstrip("/").partition("/")[2]


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


Send = Callable[[Call], Reply]
Fault = Callable[["_Handler", Call], None]
Rule = Callable[[Call], Fault | None]


@dataclass
class FaultProxy:
    """`rule` may be replaced at any time; `calls` keeps every request."""

    upstream: str
    rule: Rule = lambda call: None
    calls: list[Call] = field(default_factory=list)
    faults: int = 0

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def port(self) -> int:
        return self._server.server_port

    def reset(self, rule: Rule = lambda call: None) -> None:
        """Forget what was counted and take another rule."""
        self.calls.clear()
        self.faults, self.rule = 0, rule

    def _counted(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[Call, Fault | None]:
        with self._lock:
            call = Call(len(self.calls) + 1, method, path, headers, body)
            self.calls.append(call)
            fault = self.rule(call)
            self.faults += fault is not None
            return call, fault


# --- rules -----------------------------------------------------------------------------------------------------


def share(part: float, fault: Fault, seed: int) -> Rule:
    """That part of all requests, drawn with a seed."""
    drawn = random.Random(seed)
    return lambda call: fault if drawn.random() < part else None


def first(count: int, fault: Fault, when: Callable[[Call], bool] = lambda call: True) -> Rule:
    """The first `count` of the requests that `when` is about."""
    left = [count]

    def rule(call: Call) -> Fault | None:
        if not left[0] or not when(call):
            return None
        left[0] -= 1
        return fault

    return rule


def since(number: int, fault: Fault) -> Rule:
    """Every request from that one on."""
    return lambda call: fault if call.number >= number else None


# --- faults ----------------------------------------------------------------------------------------------------


def refuse(status: int, code: str, message: str = "told by the proxy") -> Fault:
    """S3's answer to a request that it will not serve; as always without a body on HEAD."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return lambda handler, call: handler.answer(Reply(status, [("Content-Type", "application/xml")], body))


SLOW_DOWN = refuse(503, "SlowDown", "Please reduce your request rate.")
EXPIRED = refuse(400, "ExpiredToken", "The provided token has expired.")


def refuse_call(status: int, code: str, message: str = "told by the proxy") -> Fault:
    """The answer of another service than S3, in the protocol that the call is in."""

    def fault(handler: _Handler, call: Call) -> None:
        headers = {name.lower(): value for name, value in call.headers.items()}
        if "x-amz-target" in headers:
            kind = headers["content-type"]
            body = json.dumps({"__type": code, "message": message})
        else:
            kind = "text/xml"
            body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
        handler.answer(Reply(status, [("Content-Type", kind)], body.encode()))

    return fault


def bad_gateway(handler: _Handler, call: Call) -> None:
    """A load balancer answers in place of the service, and in nobody's protocol."""
    html = b"<html>\n<body><h1>502 Bad Gateway</h1>\n</body></html>\n"
    handler.answer(Reply(502, [("Content-Type", "text/html")], html))


def reset(handler: _Handler, call: Call) -> None:
    """The connection breaks before the request has arrived."""
    handler.cut()


def lose_reply(handler: _Handler, call: Call) -> None:
    """The request arrives and is served; nobody hears of it."""
    handler.forward(call)
    handler.cut()


def truncate(share: float) -> Fault:
    """The body breaks off after that share of it."""

    def fault(handler: _Handler, call: Call) -> None:
        reply = handler.forward(call)
        handler.answer(reply, only=int(len(reply.body) * share))
        handler.cut()

    return fault


def damage(handler: _Handler, call: Call) -> None:
    """One bit of the answer's body is another one; everything else is as it was."""
    reply = handler.forward(call)
    handler.answer(Reply(reply.status, reply.headers, _flipped(reply.body)))


def damage_upload(handler: _Handler, call: Call) -> None:
    """One bit of the request's body is another one when the server gets it."""
    headers = {name.lower(): value for name, value in call.headers.items()}
    body, digest = _flipped(call.body), hashlib.sha256(_flipped(call.body)).digest()
    if headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD") not in ("UNSIGNED-PAYLOAD", digest.hex()):
        return refuse(400, "XAmzContentSHA256Mismatch")(handler, call)
    if headers.get("x-amz-checksum-sha256", "") not in ("", base64.b64encode(digest).decode()):
        return refuse(400, "BadDigest")(handler, call)
    handler.answer(handler.forward(Call(call.number, call.method, call.path, call.headers, body)))
    return None


def slow(seconds: float) -> Fault:
    """The request arrives late, and so the answer."""

    def fault(handler: _Handler, call: Call) -> None:
        time.sleep(seconds)
        handler.answer(handler.forward(call))

    return fault


def late(seconds: float) -> Fault:
    """The request is served at once, and the answer comes late."""

    def fault(handler: _Handler, call: Call) -> None:
        reply = handler.forward(call)
        time.sleep(seconds)
        handler.answer(reply)

    return fault


def _flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else body


# --- the wire --------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms for the client to confirm the headers before it
    proxy: FaultProxy

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        call, fault = self.proxy._counted(self.command, self.path, dict(self.headers), body)
        try:
            if fault:
                fault(self, call)
            else:
                self.answer(self.forward(call))
        except OSError:  # the client has given up
            self.close_connection = True

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def forward(self, call: Call) -> Reply:
        connection = http.client.HTTPConnection(urlsplit(self.proxy.upstream).netloc, timeout=60)
        try:
            connection.request(call.method, call.path, call.body or None, call.headers)
            answer = connection.getresponse()
            return Reply(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def answer(self, reply: Reply, only: int | None = None) -> None:
        self.send_response(reply.status)
        told = {name.lower() for name, _ in reply.headers}
        for name, value in reply.headers:
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        if "content-length" not in told:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[:only])

    def cut(self) -> None:
        """End the connection with a reset rather than a goodbye."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def log_message(self, *_: object) -> None:
        pass
