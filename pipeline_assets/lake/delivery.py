"""What a producer works with: the watched files of each stream, its own folder, and a writer for each stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_assets.aws import Aws
from pipeline_assets.lake.delivery_stream import BufferingHints, LocalStreamWriter, StreamWriter
from pipeline_assets.lake.firehose import FirehoseWriter
from pipeline_assets.lake.local import LocalLake

if TYPE_CHECKING:
    from pipeline_assets.settings import Settings


@dataclass(frozen=True)
class Delivery:
    """`watched` has a path for each stream, with wildcards in the file's name; `folder` is the producer's own.

    `open_writer` takes the bucket and prefix that a stream delivers to, and the stream's name in the pipeline's value.
    """

    watched: Mapping[str, str]
    folder: Path
    open_writer: Callable[[str, str, str], StreamWriter]


def build_delivery(settings: Settings) -> Delivery:
    """The delivery of an installation; opens no connection and no file."""
    folder = settings.producer_folder

    def open_local(bucket: str, prefix: str, stream: str) -> StreamWriter:
        return LocalStreamWriter(
            LocalLake(settings.lake_root),
            bucket,
            prefix,
            f"{settings.stack_name}-{stream}",
            part=folder / f"{stream}.part",
            hints=BufferingHints(settings.stream_buffer_seconds, settings.stream_buffer_mib),
        )

    def open_firehose(bucket: str, prefix: str, stream: str) -> StreamWriter:
        aws = Aws(settings.aws_region, settings.aws_endpoint_url)
        return FirehoseWriter(aws, f"{settings.stack_name}-{stream}", patience=settings.s3_patience)

    return Delivery(settings.watched_files, folder, open_local if settings.profile == "local" else open_firehose)
