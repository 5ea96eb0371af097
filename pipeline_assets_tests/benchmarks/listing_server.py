"""A bucket that exists only as its listing: ListObjectsV2 over HTTP, 1,000 keys a page, as many keys as asked for.

    python -m pipeline_assets_tests.benchmarks.listing_server 1000000

It prints its port and serves until its standard input is closed. Pages are one template with numbers put in, so that
the server costs next to nothing beside the client that is measured. A PUT of any key adds that many objects behind all
others as its body says; `GET /requests` tells how many pages were served.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PAGE = 1000
PREFIX = "landing/"
_ENTRY = (
    "<Contents><Key>landing/2026/@PAGE@/part-{n:04}.csv</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{n:08x}0123456789abcdef00@PAGE@&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass>"
    "</Contents>"
)
_ENTRIES = [_ENTRY.format(n=n, size=n + 1).encode() for n in range(PAGE)]
_WHOLE = b"".join(_ENTRIES)


class Listing:
    """Keys are numbered; number n lies on page n // 1000. No object is empty, so none may be a folder marker."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.served = 0

    def page(self, query: dict[str, list[str]]) -> bytes:
        self.served += 1
        start = int(query["continuation-token"][0]) if "continuation-token" in query else 0
        if "start-after" in query:
            *_, page, name = query["start-after"][0].split("/")
            start = max(start, int(page) * PAGE + int(name[5:9]) + 1)
        page = start // PAGE
        end = min((page + 1) * PAGE, self.count)
        first, rows = start % PAGE, max(end - start, 0)
        entries = _WHOLE if rows == PAGE else b"".join(_ENTRIES[first : first + rows])
        more = end < self.count
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if more else ""
        head = (
            f"<?xml version='1.0' encoding='UTF-8'?><ListBucketResult><Name>bucket</Name><Prefix>{PREFIX}</Prefix>"
            f"<KeyCount>{rows}</KeyCount><MaxKeys>{PAGE}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        )
        return head.encode() + entries.replace(b"@PAGE@", f"{page:06}".encode()) + b"</ListBucketResult>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    listing: Listing

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        counted = url.path == "/requests"
        self._answer(str(self.listing.served).encode() if counted else self.listing.page(parse_qs(url.query)))

    def do_PUT(self) -> None:
        self.listing.count += int(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listing_server(count: int) -> Iterator[str]:
    """The url of such a bucket in a process of its own, so that serving does not cost the measured one."""
    command = [sys.executable, "-m", __name__, str(count)]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()
        process.wait()


def main() -> None:
    handler = type("Handler", (_Handler,), {"listing": Listing(int(sys.argv[1]))})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
