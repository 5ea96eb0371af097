"""`dev` checks its port before Dagster starts, which would print "Serving" and wait for ever."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline_assets import cli


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Iterator[Callable]:
    """Call `pipeline-assets dev`; returns (exit code, stderr, the commands that would have started)."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setenv("PIPELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIPELINE_CATALOG_URL", "")  # `dev` sets it; this restores it
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, words: started.append(words))
    monkeypatch.setattr(os, "posix_spawn", lambda program, words, environment: started.append(words))

    def call(*arguments: str) -> tuple[int, str, list[list[str]]]:
        monkeypatch.setattr(sys, "argv", ["pipeline-assets", "dev", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0), capsys.readouterr().err, started

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def busy(request: pytest.FixtureRequest) -> Iterator[int]:
    with socket.create_server((request.param, 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def free_port_before_a_taken_one() -> tuple[int, socket.socket]:
    """A free port, and the socket that listens on the next one; another process may have that one already."""
    while True:
        port = free_port()
        with suppress(OSError):
            return port, socket.create_server(("127.0.0.1", port + 1))


@pytest.mark.parametrize("by", ["option", "setting"])
def test_a_port_in_use_is_one_line_that_names_the_option(dev, busy: int, by: str, monkeypatch) -> None:
    monkeypatch.setenv("PIPELINE_DAGSTER_PORT", str(busy if by == "setting" else free_port()))
    code, err, started = dev(*(["--port", str(busy)] if by == "option" else []))
    assert (code, err.count("\n"), started) == (2, 1, [])
    assert f"Port {busy} on 127.0.0.1 cannot be used: Address already in use." in err
    assert "`PIPELINE_DAGSTER_PORT=4000 make dev`" in err  # make takes no --port
    assert "`pipeline-assets dev --port 4000`" in err


@pytest.mark.parametrize("port", ["0", "-1", "65536", "70000", "abc", "1.5", ""])
def test_a_port_that_is_none_is_one_line(dev, port: str) -> None:
    code, err, started = dev("--port", port)
    assert (code, err.count("\n"), started) == (2, 1, [])
    assert "'--port'" in err


def test_a_port_that_needs_rights_is_one_line(dev, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refused)
    code, err, started = dev("--port", "80")
    assert (code, err.count("\n"), started) == (2, 1, [])
    assert "Port 80 on 127.0.0.1 cannot be used: Permission denied." in err


def test_on_a_free_port_dagster_starts(dev) -> None:
    port = free_port()
    _, err, (catalog, dagster) = dev("--port", str(port))
    assert err == f"The catalog, with the lineage of every column: {os.environ['PIPELINE_CATALOG_URL']}\n"
    assert "pipeline_assets.catalog.serve" in catalog
    assert dagster[-4:] == ["-h", "127.0.0.1", "-p", str(port)]


def test_the_catalog_is_on_the_next_port_or_on_one_that_is_free(dev) -> None:
    port, next_port = free_port_before_a_taken_one()
    with next_port:
        dev("--port", str(port))
    catalog_port = int(os.environ["PIPELINE_CATALOG_URL"].rpartition(":")[2].strip("/"))
    assert catalog_port not in (port, port + 1)
    # No port follows the last one.
    dev("--port", "65535")
    assert os.environ["PIPELINE_CATALOG_URL"].startswith("http://127.0.0.1:")


def test_a_catalog_that_is_served_elsewhere_is_linked_and_not_served(dev, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_CATALOG_URL", "https://data.example.org/catalog/")
    _, err, started = dev("--port", str(free_port()))
    assert err == "The catalog, with the lineage of every column: https://data.example.org/catalog/\n"
    assert len(started) == 1


def test_connections_that_were_closed_a_moment_ago_do_not_keep_the_port(dev) -> None:
    """The kernel keeps them for a minute after the server has closed them: `dev` may be stopped and started again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            server.accept()[0].close()
            assert client.recv(1) == b""
    _, err, started = dev("--port", str(port))
    assert (err.count("\n"), len(started)) == (1, 2)
