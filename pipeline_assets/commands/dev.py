"""`dev`: Dagster's UI and daemon on this machine, and the catalog beside them."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline_assets.commands.catalog import catalog_folder
from pipeline_assets.commands.shared import prepared_settings
from pipeline_assets.console import say
from pipeline_assets.errors import ConfigurationError

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings

_HOST = "127.0.0.1"


def dev(port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = None) -> None:
    """Start Dagster's UI, sensors and schedules over PIPELINE_HOME, and the catalog on the next port."""
    from pipeline_assets.orchestration.execution import dagster_instance
    from pipeline_assets.settings import PROJECT_ROOT

    settings = prepared_settings()
    port = port or settings.dagster_port
    require_free(port)
    lock = _lock(settings.home)
    with dagster_instance(settings.dagster_home):
        pass  # creates its tables, which Dagster and the catalog would else both create at once
    workspace = PROJECT_ROOT / "workspace.yaml"
    target = ["-w", str(workspace)] if workspace.exists() else ["-m", "pipeline_assets.definitions"]
    # A shell lets what it starts with `&` ignore Ctrl-C, and every child would inherit that: only SIGKILL would end it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    url = settings.catalog_url or _serve_catalog(settings, port + 1)
    os.environ["PIPELINE_CATALOG_URL"] = url  # for the links of assets, which other processes define
    say(f"The catalog, with the lineage of every column: {url}")
    os.set_inheritable(lock, True)  # Dagster, which replaces this process, keeps it to its end
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", *target, "-h", _HOST, "-p", str(port)])


def _lock(home: Path) -> int:
    """The open lock of a home, which one `dev` at a time has: two daemons would both start the runs of each sensor.

    Raises:
        ConfigurationError: another `dev` has it.
    """
    lock = os.open(home / ".dev.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(
            f"Another `dev` works on {home}.", remedy="Use or stop it, or set PIPELINE_HOME to another folder."
        ) from None
    return lock


def _serve_catalog(settings: Settings, port: int) -> str:
    """Serve the catalog in a process that ends with this one; returns its address.

    Dagster replaces this process, which keeps its end of the pipe open; the server ends when that end is closed.

    Raises:
        ConfigurationError: no port is free.
    """
    read, write = os.pipe()
    with _listen(port) as listening, open(read, "rb") as pipe:
        inherited = (listening.fileno(), pipe.fileno())
        for number in inherited:
            os.set_inheritable(number, True)
        arguments = [*map(str, inherited), str(catalog_folder(settings)), str(settings.dagster_home)]
        command = [sys.executable, "-m", "pipeline_assets.catalog.serve", *arguments]
        os.posix_spawn(sys.executable, command, os.environ)
        url = f"http://{_HOST}:{listening.getsockname()[1]}/"
    os.set_inheritable(write, True)
    return url


def _listen(port: int) -> socket.socket:
    """A socket that listens on a port, or on any that is free if another process uses it."""
    for each in (port, 0):
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((_HOST, each))
            listening.listen()
            return listening
        except (OSError, OverflowError):
            listening.close()
    raise ConfigurationError(f"No port on {_HOST} is free.", remedy="Free a port, or set PIPELINE_CATALOG_URL.")


def require_free(port: int) -> None:
    """Check that the UI can listen on a port: Dagster (1.13.27) would print "Serving" and hang.

    Raises:
        ConfigurationError: the port is in use, or needs rights that this user lacks.
    """
    with socket.socket() as probe:
        # As the web server does: without it, a connection that was just closed would keep the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
            probe.listen(1)
        except OSError as error:
            raise ConfigurationError(
                f"Port {port} on {_HOST} cannot be used: {os.strerror(error.errno or 0)}.",
                remedy="Choose another with `PIPELINE_DAGSTER_PORT=4000 make dev` or `pipeline-assets dev --port 4000`"
                ", or stop what uses it, e.g. another `dev`.",
            ) from None
