"""One run of a pipeline at a time on any number of machines: a lease, an object that one of them may write.

Machines share no lock, but S3 writes an object only if it is not there, or is still the version that one names. The
holder writes the lease again and again; whoever waits takes it over once it has not changed for `ttl` seconds. That is
measured by the one who waits, so no two clocks are ever compared. A holder that died on this machine is told by its
home, which only one process at a time has (the file lock comes first), and is not waited for.

A holder that was cut off for longer than `ttl` finds its lease gone and stops before it publishes (`confirm`).
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

from pipeline_assets.errors import PipelineError, WarehouseBusyError
from pipeline_assets.lake.store import Lake

logger = logging.getLogger("pipeline_assets")
TTL = 90.0  # seconds without a sign of life after which a holder counts as dead
_POLL = 2.0


def home_of(locks: Path) -> str:
    """What this machine is called in a lease: its name, the folder of its locks, and an id that lies in there.

    Containers share a host's name (network_mode: host) or are all called `code`, and have the same path; taken for one
    another, one would take over the lease of another that lives.
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
    """A lease that is held. `home` names the place that only one process at a time works in."""

    lake: Lake
    bucket: str
    key: str
    home: str
    ttl: float = TTL
    poll: float = _POLL
    _holder: str = field(default_factory=lambda: uuid.uuid4().hex)
    _etag: str = ""
    _lost: bool = False
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def held(self, patience: float) -> Iterator[Lease]:
        """Wait for the lease, hold it, let go of it.

        Raises:
            WarehouseBusyError: others held it for all the time of the patience, in seconds.
        """
        self._acquire(patience)
        keeper = threading.Thread(target=self._keep, daemon=True, name=f"lease {self.key}")
        keeper.start()
        try:
            yield self
        finally:
            self._over.set()
            keeper.join()
            self._release()

    def confirm(self) -> None:
        """Prove that it is ours still.

        Raises:
            WarehouseBusyError: another machine has taken it over.
        """
        if self._lost or not self._write():
            self._lost = True
            raise WarehouseBusyError(
                f"Another machine took {self.key} over, as this one gave no sign of life for {self.ttl:g} seconds.",
                remedy="Nothing was published by this run; the other one takes what landed.",
            )

    def _acquire(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        seen, since = "", time.monotonic()
        while not self._write():
            etag, holder = self._look()
            if etag != seen:
                seen, since = etag, time.monotonic()
            ours = holder.get("home") == self.home
            if etag and (ours or time.monotonic() - since > self.ttl):
                if not ours:
                    logger.warning("The holder of %s gave no sign of life; taking it over.", self.key)
                self._etag = etag
                continue
            if time.monotonic() > deadline:
                raise WarehouseBusyError(
                    f"Another machine has held {self.key} for more than {patience:g} seconds.",
                    remedy="Wait for its run, or raise PIPELINE_WAREHOUSE_PATIENCE.",
                )
            time.sleep(self.poll * random.uniform(0.7, 1.3))

    def _keep(self) -> None:
        """Write the lease again, so that others see that we live."""
        while not self._over.wait(self.ttl / 4):
            try:
                if not self._write():
                    self._lost = True
                    return
            except PipelineError as error:
                logger.warning("%s was not renewed this time: %s", self.key, error)

    def _write(self) -> bool:
        """Write the lease where nobody else has; False when somebody has."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        body = json.dumps({"holder": self._holder, "home": self.home, "sign": uuid.uuid4().hex}).encode()
        mode = {"e_tag": self._etag} if self._etag else "create"
        with self.lake.errors(f"writing {self.bucket}/{self.key}", self.bucket, "s3:PutObject"):
            try:
                self._etag = obstore.put(self.lake.store(self.bucket), self.key, body, mode=mode)["e_tag"] or ""
                return True
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                if "NoSuchBucket" in str(error):  # else it looks as if somebody held it, for all of the patience
                    raise
                # A write whose answer got lost is repeated, and meets itself.
                etag, holder = self._look()
                mine = holder.get("holder") == self._holder
                self._etag = etag if mine else ""
                return mine

    def _look(self) -> tuple[str, dict]:
        """(etag, what stands in it) of the lease; nothing when there is none."""
        import obstore

        with self.lake.errors(f"reading {self.bucket}/{self.key}", self.bucket, "s3:GetObject"):
            try:
                found = obstore.get(self.lake.store(self.bucket), self.key)
                return found.meta["e_tag"] or "", json.loads(bytes(found.bytes()))
            except FileNotFoundError:
                return "", {}
            except ValueError:  # not written by us
                return found.meta["e_tag"] or "", {}

    def _release(self) -> None:
        """Let go, so that nobody has to wait; what cannot be deleted runs out by itself."""
        try:
            if not self._lost and self._look()[1].get("holder") == self._holder:
                self.lake.delete([self.lake.uri(self.bucket, self.key)])
        except PipelineError as error:
            logger.warning("%s was not given back: %s", self.key, error)
