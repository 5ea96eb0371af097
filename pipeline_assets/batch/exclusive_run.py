"""One run of a pipeline at a time: a file lock on this machine, and a lease in the lake if other machines share it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline_assets.batch.platform import Platform
from pipeline_assets.errors import WarehouseBusyError
from pipeline_assets.lake.lease import Lease, installation_id

logger = logging.getLogger("pipeline_assets")


@contextmanager
def exclusive_run(platform: Platform, pipeline: str, bucket: str) -> Iterator[Callable[[], None]]:
    """Hold the pipeline's lock: a second run, here or on another machine, waits until the first has ended or died.

    Yields a function that raises if the lock was lost; call it before anything is published.

    Raises:
        WarehouseBusyError: the other run did not end within `patience` seconds.
    """
    with _local_lock(platform, pipeline):
        if not platform.shared:
            yield lambda: None
            return
        with Lease(platform.lake, bucket, f"locks/{pipeline}.json", installation_id(platform.locks)).held(
            platform.patience
        ) as lease:
            yield lease.confirm


@contextmanager
def _local_lock(platform: Platform, pipeline: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    platform.locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(platform.locks / f"{pipeline}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("Another run of %s is under way; waiting for it.", pipeline)
        try:
            lock.acquire(timeout=platform.patience)
        except Timeout:
            raise WarehouseBusyError(
                f"Another run of {pipeline} has not ended within {platform.patience:g} seconds.",
                remedy="Wait for it, or raise PIPELINE_WAREHOUSE_PATIENCE.",
            ) from None
    try:
        yield
    finally:
        lock.release()
