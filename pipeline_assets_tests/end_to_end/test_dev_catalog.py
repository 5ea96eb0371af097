"""The catalog beside `dagster dev` is gone with it; test_dagster_dev.py has what it shows meanwhile."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from pipeline_assets_tests.support.command_line import environment
from pipeline_assets_tests.support.dagster_dev import has_catalog, is_served
from pipeline_assets_tests.support.waiting import until
from pipeline_assets_tests.support.warm_python import start


@pytest.mark.slow
def test_the_catalog_ends_with_dagster_however_that_ends(tmp_path: Path) -> None:
    """`dev` becomes Dagster's process; another program in its place inherits as much."""
    program = (
        "import os\n"
        "from pipeline_assets.commands.dev import dev\n"
        "execv = os.execv\n"
        "script = 'echo $PIPELINE_CATALOG_URL; exec sleep 600'\n"
        "os.execv = lambda program, words: execv('/bin/sh', ['sh', '-c', script])\n"
        "dev(port=None)\n"
    )
    variables = environment(tmp_path, PIPELINE_DAGSTER_PORT=str(_free_port()))
    read, write = os.pipe()
    with open(read) as output:
        started = start(["-c", program], env=variables, cwd=tmp_path, stdout=write)
        os.close(write)
        try:
            url = output.readline().strip()
            until(lambda: has_catalog(url), 200)
            assert (tmp_path / "catalog" / "index.html").exists()
        finally:
            started.send_signal(signal.SIGKILL)
    until(lambda: not is_served(url))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
