"""The catalog over HTTP beside Dagster's UI, written anew when a request finds that a run has ended since.

    python -m pipeline_assets.catalog.serve <socket> <pipe> <folder of the site> <home of Dagster>

`dev` starts it with a listening socket and a pipe; it ends when the other end of the pipe is closed, which is when
Dagster ends. A new process writes the site each time, so that it shows contracts and SQL as they are now.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline_assets.errors import PipelineError

PATIENCE = 15  # seconds that a request waits for a newer site
_BEING_WRITTEN = "The catalog is being written. If it does not appear, `pipeline-assets dev` has printed the error."


class CatalogServer(ThreadingHTTPServer):
    """Serves a folder on a listening socket.

    `newest` returns the state of the runs that the site should show; `build` writes it and returns an error or "".
    """

    daemon_threads = True

    def __init__(
        self, listening: socket.socket, folder: Path, newest: Callable[[], object], build: Callable[[], str]
    ) -> None:
        super().__init__(listening.getsockname(), partial(_Handler, directory=str(folder)), bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.folder = folder
        self._newest = newest
        self._build = build
        self._built: object = None
        self._building = threading.Lock()

    def refresh(self) -> None:
        """Write the site if there is something newer to show, in the background after `PATIENCE` seconds.

        After a failure the earlier site stays.
        """
        writing = threading.Thread(target=self._refresh, daemon=True)
        writing.start()
        writing.join(PATIENCE)

    def _refresh(self) -> None:
        with self._building:
            try:
                newest = self._newest()
                error = "" if newest == self._built else self._build()
            except PipelineError as failure:
                error = str(failure)
            if error:
                print(f"The catalog could not be written. {error}", file=sys.stderr, flush=True)
            else:
                self._built = newest


class _Handler(SimpleHTTPRequestHandler):
    server: CatalogServer

    def do_GET(self) -> None:
        if urlsplit(self.path).path in ("/", "/index.html"):
            self.server.refresh()
            if not (self.server.folder / "index.html").exists():
                self._ask_to_wait()
                return
        super().do_GET()

    def _ask_to_wait(self) -> None:
        self.send_response(503)
        self.send_header("Refresh", "2")  # the browser asks again
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(_BEING_WRITTEN.encode())

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: Dagster's log is on the same terminal."""


def write_catalog() -> str:
    """Run `pipeline-assets catalog`; its error, or ""."""
    command = [sys.executable, "-m", "pipeline_assets.cli", "catalog"]
    made = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    return made.stderr.strip() if made.returncode else ""


def main() -> None:
    """Serve until the pipe is closed."""
    import dagster as dg

    from pipeline_assets.orchestration.execution import dagster_instance
    from pipeline_assets.orchestration.instance_files import instance_errors

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end by Ctrl-C without a traceback
    listening, pipe, folder, home = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), *map(Path, sys.argv[3:5])
    ends = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    ended = dg.RunsFilter(statuses=ends)

    def last_run() -> tuple[str, ...]:
        with instance_errors(home):
            return tuple(
                record.dagster_run.run_id
                for record in instance.get_run_records(ended, limit=1, order_by="update_timestamp")
            )

    with dagster_instance(home) as instance:
        server = CatalogServer(listening, folder, last_run, write_catalog)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        threading.Thread(target=server.refresh, daemon=True).start()  # before somebody asks
        os.read(pipe, 1)
    os._exit(0)  # a request that waits for the catalog would keep the process


if __name__ == "__main__":
    main()
