"""The catalog beside `dagster dev`: linked from the assets, up to date at each visit, gone with it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from pipeline_assets_tests.support.bookings_lake import BookingsLake, booking, customer
from pipeline_assets_tests.support.browser import chromium, visit
from pipeline_assets_tests.support.command_line import environment, process
from pipeline_assets_tests.support.dagster_dev import DagsterDev

_LINKS = """{ assetNodes(group: {groupName: "bookings", repositoryLocationName: "pipeline_assets",
  repositoryName: "__repository__"}) { assetKey { path }
  metadataEntries { label ... on UrlMetadataEntry { url } } } }"""


@pytest.fixture
def dev(lake: BookingsLake) -> Iterator[DagsterDev]:
    lake.customers("", customer(1))
    lake.bookings("", booking(1, 1))
    assert process(lake.home, "run", "bookings", "--json").returncode == 0
    dev = DagsterDev(lake.home)
    yield dev
    dev.stop()


def is_served(url: str) -> bool:
    address, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    try:
        socket.create_connection((address, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_written(url: str) -> bool:
    try:
        with urlopen(url, timeout=60) as response:
            return b"<title>Data catalog</title>" in response.read()
    except HTTPError:  # 503: the browser would ask again
        return False


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_asset_links_to_its_dataset_in_a_catalog_that_shows_the_last_run(
    dev: DagsterDev, lake: BookingsLake
) -> None:
    nodes = dev.until(lambda: dev.ask(_LINKS)["assetNodes"], 240)
    links = {
        "/".join(node["assetKey"]["path"]): entry["url"]
        for node in nodes  # type: ignore[attr-defined]
        for entry in node["metadataEntries"]
        if entry["label"] == "catalog"
    }
    names = {"/".join(node["assetKey"]["path"]) for node in nodes}  # type: ignore[attr-defined]
    assert names - links.keys() == {"bookings/customer_booking_data_pipeline_bucket"}
    assert len(links) > 5
    base = links["bookings/customers"].partition("#")[0]
    until(lambda: is_written(base), 200)
    with chromium() as browser, visit(browser) as visited:

        def rows() -> str:
            visited.page.goto("about:blank")
            visited.page.goto(links["bookings/customer_bookings"])
            visited.heading("bookings/customer_bookings")
            facts = visited.page.locator("dl").inner_text()
            return re.search(r"Rows\s+(\d+)", facts)[1]  # type: ignore[index]

        assert rows() == "1"
        for key, link in links.items():
            visited.page.goto(link)
            visited.heading(key)
        lake.bookings("_2", booking(2, 1))  # the sensor starts a run
        dev.until(lambda: rows() == "2", 120)
        assert not visited.complaints
        assert {url for url in visited.requests if not url.startswith(base)} <= {"data:,", "about:blank"}
    assert dev.stop() in (0, 130)
    until(lambda: not is_served(base))
    log = dev.log.read_text()
    assert "Traceback" not in log
    assert not [line for line in log.splitlines() if "ResourceWarning" in line and "pipeline_assets" in line]


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
    variables = environment(tmp_path) | {"PIPELINE_DAGSTER_PORT": str(_free_port())}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as started:
        assert started.stdout is not None
        try:
            url = started.stdout.readline().decode().strip()
            until(lambda: is_written(url), 200)
            assert (tmp_path / "catalog" / "index.html").exists()
        finally:
            os.kill(started.pid, signal.SIGKILL)
    until(lambda: not is_served(url))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
