"""What a batch reports to the log of its Dagster run: how far a long step is, and the messages of a Glue job.

The latter come by Dagster Pipes: context and messages are exchanged through the artifacts bucket. Only a batch that
starts a job opens a Pipes session, so a run on another engine costs nothing extra.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from pipeline_assets.engine.glue.engine import GlueEngine
from pipeline_assets.engine.glue.job import listened_to
from pipeline_assets.progress import reporting

if TYPE_CHECKING:
    from pipeline_assets.batch.platform import Platform

_INTERVAL = 5.0  # seconds between two polls for messages
LOG_SECONDS = 30.0  # between two lines of progress: a run of hours must not fill the log


class _ReportingContext:
    """The context of a step of which a job reports messages only.

    With a Pipes session, Dagster requires every output of the step, also those that may be skipped (1.13.27). But a
    table that a batch leaves unchanged is observed, and has no output.
    """

    def __init__(self, context: dg.OpExecutionContext) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def set_requires_typed_event_stream(self, *, error_message: str | None = None) -> None:
        return


@contextmanager
def reports_to(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[None]:
    """Long steps, and jobs that are started in the block, report to a Dagster run."""
    glue = platform.engine.engines.get("glue")
    if not isinstance(glue, GlueEngine):
        with reporting(context.log.info, LOG_SECONDS):
            yield
        return

    @contextmanager
    def listener() -> Iterator[Mapping[str, str]]:
        from dagster_aws.pipes import PipesS3ContextInjector, PipesS3MessageReader

        class Messages(PipesS3MessageReader):
            """Messages below runs/, where the job may write and objects expire. Dagster's default is a random key."""

            @contextmanager
            def get_params(self) -> Iterator[dict]:
                with super().get_params() as params:
                    yield {**params, "key_prefix": f"runs/pipes/{params['key_prefix']}"}

        bucket, client = glue.bucket, glue.s3_client()
        with dg.open_pipes_session(
            context=cast("dg.OpExecutionContext", _ReportingContext(context.op_execution_context)),
            context_injector=PipesS3ContextInjector(bucket=bucket, client=client, key_prefix="runs/pipes"),
            message_reader=Messages(bucket=bucket, client=client, interval=_INTERVAL),
        ) as session:
            yield session.get_bootstrap_cli_arguments()

    with reporting(context.log.info, LOG_SECONDS), listened_to(listener):
        yield
