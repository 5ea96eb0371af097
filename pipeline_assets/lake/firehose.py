"""Write records to a stream of Amazon Data Firehose with PutRecordBatch.

Limits of a call (Firehose quotas): 500 records, 4 MiB, 1,000 KiB a record. Firehose reports failure for each record
of a call. It buffers by itself, so nothing is buffered here.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline_assets.aws import Aws, aws_errors
from pipeline_assets.errors import ConfigurationError, LakeError

logger = logging.getLogger("pipeline_assets")
ACTION = "firehose:PutRecordBatch"
CALL_RECORDS = 500
CALL_BYTES = 4 * 1024 * 1024
_MISSING = "ResourceNotFoundException"
# botocore repeats a call that was throttled a few times itself; these are what it gives up with.
_BUSY = ("ServiceUnavailableException", "ThrottlingException", "InternalFailure")
_LONGEST_PAUSE = 20.0  # seconds


class FirehoseWriter:
    """A `StreamWriter` of one Firehose stream.

    `patience` is for how many seconds refused records are sent again; `sleep` and `jitter` (a number from 0 to its
    argument) are for tests.
    """

    def __init__(
        self,
        aws: Aws,
        stream: str,
        *,
        patience: float,
        sleep: Callable[[float], object] = time.sleep,
        jitter: Callable[[float], float] = lambda longest: random.uniform(0, longest),
    ) -> None:
        self._aws, self._stream, self._patience = aws, stream, patience
        self._sleep, self._jitter = sleep, jitter
        self._client: Any = None
        self.accepted = 0

    def put(self, records: Sequence[bytes]) -> None:
        for batch in calls(records):
            self._deliver(batch)

    def deliver_due(self) -> None:
        """Nothing is buffered here."""

    def flush(self) -> None:
        """Nothing is buffered here."""

    def _deliver(self, batch: Sequence[bytes]) -> None:
        attempt, give_up_at = 0, time.monotonic() + self._patience
        while refused := self._send(batch):
            code, first = refused
            if first:
                attempt, give_up_at = 0, time.monotonic() + self._patience
            # All from the first refused record on are sent again, also those that were accepted. Sending the refused
            # ones alone would let an old record of a key arrive behind a newer one, which no load can detect; a record
            # that arrives twice changes no table.
            batch = batch[first:]
            if time.monotonic() >= give_up_at:
                raise LakeError(
                    f"Failed writing to the stream {self._stream}: it has refused records for "
                    f"{self._patience:g} seconds ({code}).",
                    remedy="The state is intact; run again, or raise the stream's quota.",
                )
            if attempt == 0:
                logger.info("The stream %s refuses records (%s); they are sent again.", self._stream, code)
            self._sleep(self._jitter(min(_LONGEST_PAUSE, 0.2 * 2**attempt)))
            attempt += 1

    def _send(self, batch: Sequence[bytes]) -> tuple[str, int] | None:
        """Send records once; (error code, position of the first refused record), or None if all were accepted."""
        # Created late: importing boto3 costs half a second, and a stream may have nothing to deliver.
        self._client = self._client or self._aws.client("firehose")
        client = self._client
        doing = f"writing to the stream {self._stream}"
        with aws_errors(doing, ACTION, expected=(_MISSING, *_BUSY)) as codes:
            response = client.put_record_batch(
                DeliveryStreamName=self._stream, Records=[{"Data": record + b"\n"} for record in batch]
            )
        if _MISSING in codes:
            raise ConfigurationError(
                f"There is no stream {self._stream} in {self._aws.region}.",
                remedy="`pipeline-assets deploy aws` creates it; or correct PIPELINE_STACK_NAME or the region.",
            )
        if codes:
            return codes[0], 0
        first = len(batch)
        if response["FailedPutCount"]:
            results = response["RequestResponses"]
            first = next(index for index, result in enumerate(results) if result.get("ErrorCode"))
        self.accepted += first
        return None if first == len(batch) else (response["RequestResponses"][first]["ErrorCode"], first)


def calls(records: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Records in slices that fit into one call each."""
    start = size = 0
    for index, record in enumerate(records):
        if index - start == CALL_RECORDS or size + len(record) + 1 > CALL_BYTES:
            yield records[start:index]
            start, size = index, 0
        size += len(record) + 1
    if start < len(records):
        yield records[start:]
