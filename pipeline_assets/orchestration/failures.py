"""Why a run failed: our own error with its remedy, or the first cause of any other error.

Dagster stores errors as text, with the qualified name of the class before the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from pydoc import locate

import dagster as dg

from pipeline_assets.errors import PipelineError


@dataclass(frozen=True)
class Failure:
    """`message` is without the name of its class; `kind` is the class if the error is one of ours."""

    message: str
    kind: type[PipelineError] | None = None


def failure_of(event: dg.DagsterEvent) -> Failure:
    """The failure of a step: of the chain of causes the outermost error of ours with a message, else the last one.

    Errors of drivers below ours are left out: they have no remedy, and may repeat values.
    """
    error, message = event.step_failure_data.error, "unknown"
    while error:
        name, _, text = error.message.strip().partition(": ")
        kind = locate(name) if name.startswith("pipeline_assets.") else None
        if isinstance(kind, type) and issubclass(kind, PipelineError) and text:
            return Failure(text, kind)
        message = text or name or message
        error = error.cause
    return Failure(message)
