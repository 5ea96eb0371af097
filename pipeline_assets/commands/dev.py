"""`dev`: Dagster's UI and daemon on this machine."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Annotated

import typer

from pipeline_assets.commands.catalog import catalog_folder
from pipeline_assets.commands.shared import prepared_settings
from pipeline_assets.console import say
from pipeline_assets.errors import ConfigurationError

_HOST = "127.0.0.1"


def dev(port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = None) -> None:
    """Start Dagster's UI, sensors and schedules over PIPELINE_HOME."""
    from pipeline_assets.orchestration.execution import prepare_dagster_home
    from pipeline_assets.settings import PROJECT_ROOT

    settings = prepared_settings()
    port = port or settings.dagster_port
    require_free(port)
    prepare_dagster_home(settings.dagster_home)
    workspace = PROJECT_ROOT / "workspace.yaml"
    index = catalog_folder(settings) / "index.html"
    if index.exists():
        say(f"The catalog, with the lineage of every column: {index.absolute().as_uri()}")
    else:
        say("`pipeline-assets catalog` writes a site with the lineage of every column.")
    target = ["-w", str(workspace)] if workspace.exists() else ["-m", "pipeline_assets.definitions"]
    # A shell lets what it starts with `&` ignore Ctrl-C, and every child would inherit that: only SIGKILL would end it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", *target, "-h", _HOST, "-p", str(port)])


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
                remedy="Choose another with --port or PIPELINE_DAGSTER_PORT, or stop what uses it, e.g. another `dev`.",
            ) from None
