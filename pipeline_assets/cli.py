"""The console script `pipeline-assets`: the commands put together, and errors as exit codes.

Results go to stdout, everything else to stderr. Exit codes: 0 success, 1 the work failed, 2 the command or a setting is
wrong. Commands import heavy modules in their functions, so that `--help` is quick.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import NoReturn

import typer

from pipeline_assets.commands import demo, deploy, dev, new, quarantine, query, run, status
from pipeline_assets.console import say
from pipeline_assets.errors import ConfigurationError, InterruptedRunError, PipelineError

app = typer.Typer(
    help="S3 to Snowflake pipelines as Dagster assets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (run.run, query.query, status.status, demo.demo, dev.dev, demo.samples, new.new, status.doctor):
    app.command()(_command)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(deploy.app, name="deploy")


def main() -> None:
    """Run the command line. A `PipelineError` becomes one line and an exit code; other exceptions propagate."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(?!pipeline_assets)")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("snowflake").setLevel(logging.ERROR)  # it logs each attempt to connect
    try:
        app()
    except (KeyboardInterrupt, InterruptedRunError):
        say("Stopped. The state is intact; run again to finish.")
        raise SystemExit(130) from None
    except ConfigurationError as error:
        _fail(error, 2)
    except PipelineError as error:
        _fail(error, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _fail(error: PipelineError, code: int) -> NoReturn:
    say(f"error: {error}")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
