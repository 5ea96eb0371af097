"""The console script `pipeline-assets`: it registers the commands and turns errors into exit codes.

Results go to stdout, everything else to stderr. Exit codes: 0 success, 1 the work failed, 2 the command or a setting is
wrong. Commands import heavy modules in their functions, so that `--help` is quick.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import sys
import warnings
from typing import Any

import typer

from pipeline_assets.commands import catalog, demo, deploy, dev, new, quarantine, query, run, status, stream
from pipeline_assets.console import say
from pipeline_assets.errors import ConfigurationError, InterruptedRunError, PipelineError, one_line

app = typer.Typer(
    help="S3 to Snowflake pipelines as Dagster assets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (
    *(run.run, query.query, status.status, demo.demo, dev.dev, demo.samples, stream.stream, new.new, status.doctor),
    catalog.catalog,
):
    app.command()(_command)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(deploy.app, name="deploy")


# Depending on its version, Typer contains Click or imports it; in both, this class is a base of BadParameter.
_UsageError: Any = typer.BadParameter.__mro__[1]


def main() -> None:
    """Run the command line and exit. Only a defect of the platform gives a traceback."""
    # Imports make objects that stay: with Python's own thresholds, a tenth of a small run would be garbage collection.
    gc.set_threshold(50_000, 20, 100)
    _complete_streams()
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(?!pipeline_assets)")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("snowflake").setLevel(logging.ERROR)  # it logs each attempt to connect
    code, fault = 1, None
    try:
        code = _exit_code()
    except OSError as error:  # of stdout, or of anything else
        fault = error
    try:
        print(end="\n" if fault else "", flush=True)  # fails again if it was stdout
    except OSError as error:
        # What is still buffered would be written when the interpreter ends, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code, fault = 1, None
        if not isinstance(error, BrokenPipeError):  # closed by its reader, such as `| head`
            say(f"error: The result cannot be written to stdout: {error.strerror}.")
    if fault:
        raise fault
    raise SystemExit(code)


def _exit_code() -> int:
    """Run the command; our errors and usage errors become one line on stderr."""
    try:
        code = app(prog_name="pipeline-assets", standalone_mode=False) or 0
        if code == 130:  # what Typer returns for Ctrl-C
            raise KeyboardInterrupt
        return code
    except SystemExit as stop:
        return int(stop.code or 0)
    except (KeyboardInterrupt, InterruptedRunError):
        say("Stopped. The state is intact; run again to finish.")
        return 130
    except _UsageError as error:
        text = error.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":  # its text is the help
            say(text)
        else:
            text = one_line(text).replace("Value error, ", "").removesuffix(".")  # pydantic's, for a choice
            say(f"error: {text}. See `{error.ctx.command_path} --help`.")
        return 2
    except PipelineError as error:
        say(f"error: {error}")
        return 2 if isinstance(error, ConfigurationError) else 1


def _complete_streams() -> None:
    """Write UTF-8 whatever the locale is, and refuse a closed stdout.

    A file that is opened gets the lowest free number. If that is the number of a closed stream, a library's prints go
    into the file, so these numbers are first taken by /dev/null.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
    if sys.stdout is None:
        say("error: stdout is closed. Use >/dev/null to drop the result.")
        raise SystemExit(1)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(encoding="utf-8", errors="backslashreplace")


if __name__ == "__main__":
    main()
