"""One run of a pipeline at a time on any number of machines: the run holds a lease, an object in S3.

Machines share no lock, but a conditional write to S3 succeeds only if the object does not exist, or still has a given
etag. The holder rewrites the lease regularly; a waiting run takes it over if it has not changed for `ttl` seconds by
the waiting run's own clock. A lease of the same installation is taken over at once: the file lock admits only one
process of it, so that holder has died. A holder that lost its connection for longer than `ttl` finds that its lease was
taken over and stops before it publishes (`confirm`).
"""

from __future__ import annotations

import json
import logging
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline_assets.errors import PipelineError, WarehouseBusyError
from pipeline_assets.lake.store import Lake

if TYPE_CHECKING:
    from obstore import UpdateVersion

logger = logging.getLogger("pipeline_assets")
TTL = 90.0  # seconds without a renewal after which a holder counts as dead
_POLL = 2.0


def installation_id(locks: Path) -> str:
    """The id of an installation in a lease: the machine's name, the folder of its locks, and a random id kept there.

    Name and folder are not enough: containers may share both (network_mode: host, or all are called `code`), and then
    one would take over the lease of another that is still running.
    """
    from filelock import FileLock

    path = locks / "home.id"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / "home.lock"):
        if not path.exists():
            path.write_text(uuid.uuid4().hex, encoding="utf-8")
        return f"{socket.gethostname()}:{locks}:{path.read_text(encoding='utf-8')}"


@dataclass
class Lease:
    """The lease of one pipeline. `installation` is an `installation_id`; only one of its processes runs at a time."""

    lake: Lake
    bucket: str
    key: str
    installation: str
    ttl: float = TTL
    poll: float = _POLL
    _holder: str = field(default_factory=lambda: uuid.uuid4().hex)
    _etag: str = ""
    _lost: bool = False
    _released: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def held(self, timeout: float) -> Iterator[Lease]:
        """Wait for the lease for up to `timeout` seconds, hold it, release it.

        Raises:
            WarehouseBusyError: others held it all that time.
        """
        self._acquire(timeout)
        renewal = threading.Thread(target=self._renew, daemon=True, name=f"lease {self.key}")
        renewal.start()
        try:
            yield self
        finally:
            self._released.set()
            renewal.join()
            self._release()

    def confirm(self) -> None:
        """Check that this run still holds the lease.

        Raises:
            WarehouseBusyError: another machine has taken it over.
        """
        if self._lost or not self._write():
            self._lost = True
            raise WarehouseBusyError(
                f"Another machine took {self.key} over, as this one did not renew it for {self.ttl:g} seconds.",
                remedy="Nothing was published by this run; the other one loads the same objects.",
            )

    def _acquire(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        last_etag, since = "", time.monotonic()
        while not self._write():
            etag, holder = self._read()
            if etag != last_etag:
                last_etag, since = etag, time.monotonic()
            is_ours = holder.get("home") == self.installation
            if etag and (is_ours or time.monotonic() - since > self.ttl):
                if not is_ours:
                    logger.warning("The holder of %s does not renew it; taking it over.", self.key)
                self._etag = etag
                continue
            if time.monotonic() > deadline:
                raise WarehouseBusyError(
                    f"Another machine has held {self.key} for more than {timeout:g} seconds.",
                    remedy="Wait for its run, or raise PIPELINE_WAREHOUSE_PATIENCE.",
                )
            time.sleep(self.poll * random.uniform(0.7, 1.3))

    def _renew(self) -> None:
        """Rewrite the lease regularly, so that others see that this run is alive."""
        while not self._released.wait(self.ttl / 4):
            try:
                if not self._write():
                    self._lost = True
                    return
            except PipelineError as error:
                logger.warning("%s was not renewed this time: %s", self.key, error)

    def _write(self) -> bool:
        """Write the lease; False if another run has written it."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        body = json.dumps({"holder": self._holder, "home": self.installation, "sign": uuid.uuid4().hex}).encode()
        mode: UpdateVersion | Literal["create"] = {"e_tag": self._etag} if self._etag else "create"
        with self.lake.errors(f"writing {self.bucket}/{self.key}", self.bucket, "s3:PutObject"):
            try:
                self._etag = obstore.put(self.lake.store(self.bucket), self.key, body, mode=mode)["e_tag"] or ""
                return True
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                if "NoSuchBucket" in str(error):  # else it looks as if another run held it
                    raise
                # A write without a response is repeated, and then finds its own object.
                etag, holder = self._read()
                is_mine = holder.get("holder") == self._holder
                self._etag = etag if is_mine else ""
                return is_mine

    def _read(self) -> tuple[str, dict]:
        """(etag, content) of the lease; empty if it does not exist."""
        import obstore

        with self.lake.errors(f"reading {self.bucket}/{self.key}", self.bucket, "s3:GetObject"):
            try:
                response = obstore.get(self.lake.store(self.bucket), self.key)
                return response.meta["e_tag"] or "", json.loads(bytes(response.bytes()))
            except FileNotFoundError:
                return "", {}
            except ValueError:  # not written by us
                return response.meta["e_tag"] or "", {}

    def _release(self) -> None:
        """Delete the lease, so that the next run need not wait; if that fails, it expires."""
        try:
            if not self._lost and self._read()[1].get("holder") == self._holder:
                self.lake.delete([self.lake.uri(self.bucket, self.key)])
        except PipelineError as error:
            logger.warning("%s was not released: %s", self.key, error)
