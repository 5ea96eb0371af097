"""A file with the answers of an API that are not in an archive yet: a killed extract requests only the rest.

The file has one JSON document in each line: first the time of the first request, then an answer each. A line that was
cut by a kill is removed when the file is opened again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline_assets.errors import ConfigurationError, SourceError


class Answers:
    """The answers in one file, by id or title; `started_at` is the UTC time of the first request. Close it."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            ConfigurationError: it cannot be read or written.
        """
        self._path = path
        self._positions: dict[str, int] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+b")  # noqa: SIM115 - it is open as long as this object
            self.started_at = self._read()
        except OSError as error:
            raise ConfigurationError(
                f"The answers of the API cannot be kept in {path}: {error.strerror}.",
                remedy="Make it a file that this user may write.",
            ) from None

    def __contains__(self, asked: str) -> bool:
        return asked in self._positions

    def add(self, asked: str, records: list[dict[str, Any]]) -> None:
        """Keep an answer.

        Raises:
            SourceError: it cannot be written.
        """
        position = self._file.seek(0, os.SEEK_END)
        self._write({"asked": asked, "records": records})
        self._positions[asked] = position

    def records(self, asked: str) -> Iterator[dict[str, Any]]:
        """The records of an answer, in its order."""
        self._file.seek(self._positions[asked])
        yield from json.loads(self._file.readline())["records"]

    def close(self) -> None:
        self._file.close()

    def delete(self) -> None:
        self._path.unlink(missing_ok=True)

    def _read(self) -> datetime:
        """Read where each answer is, and remove a line that was cut; returns the time of the first request."""
        started_at, whole = None, 0
        self._file.seek(0)
        for line in self._file:
            try:
                entry: Any = json.loads(line) if line.endswith(b"\n") else None
                if started_at is None:
                    started_at = datetime.fromisoformat(entry["started_at"])
                else:
                    self._positions[entry["asked"]] = whole
            except (ValueError, TypeError, KeyError):
                break
            whole += len(line)
        self._file.truncate(whole)
        if started_at is None:
            started_at = datetime.now(UTC)
            self._write({"started_at": started_at.isoformat()})
        return started_at

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise SourceError(
                f"An answer of the API cannot be kept in {self._path}: {error.strerror}.",
                remedy="Free some space and run again; it asks only for the rest.",
            ) from None
