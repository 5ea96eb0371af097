"""PutRecordBatch of Firehose over HTTP on 127.0.0.1, with the limits of the service and faults that a test chooses.

A `rule` gets the number of the call (from 1) and its records and returns which records are refused, or an error code
for the whole call.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Rule = Callable[[int, list[bytes]], "set[int] | str"]


@dataclass
class FirehoseServer:
    """`arrived` are the records that were accepted, in order; `calls` the number of records of each call."""

    rule: Rule = lambda number, records: set()
    arrived: list[bytes] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    url: str = ""

    def answer(self, body: dict) -> tuple[int, dict]:
        records = [base64.b64decode(record["Data"]) for record in body["Records"]]
        self.calls.append(len(records))
        assert 0 < len(records) <= 500
        assert sum(map(len, records)) <= 4 << 20
        assert max(map(len, records)) <= 1000 << 10
        outcome = self.rule(len(self.calls), records)
        if isinstance(outcome, str):
            return 503 if outcome.startswith("Service") else 400, {"__type": outcome, "message": "set by the test"}
        self.arrived += [record for index, record in enumerate(records) if index not in outcome]
        busy = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
        answers = [busy if index in outcome else {"RecordId": str(index)} for index in range(len(records))]
        return 200, {"FailedPutCount": len(outcome), "Encrypted": True, "RequestResponses": answers}


@contextmanager
def firehose_server() -> Iterator[FirehoseServer]:
    server = FirehoseServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.headers["X-Amz-Target"] == "Firehose_20150804.PutRecordBatch"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = server.answer(body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
