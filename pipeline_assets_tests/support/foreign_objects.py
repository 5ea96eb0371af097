"""Things in a folder that nothing can load, also for root: each is made by one system call."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path


def _socket(path: bytes) -> None:
    folder = os.open(os.path.dirname(path), os.O_RDONLY)  # the address of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{folder}/{os.path.basename(path).decode()}")
    finally:
        os.close(folder)


def _file(path: bytes) -> None:
    with open(path, "wb") as file:
        file.write(b"x")


FOREIGN: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "line feed": (b"{}a\nb.csv", _file),
    "tab": (b"{}a\tb.csv", _file),
    "escape": (b"{}a\x1b[31mb.csv", _file),
    "delete": (b"{}a\x7f.csv", _file),
    "latin-1": (b"{}caf\xe9.csv", _file),
    "surrogate": (b"{}\xed\xa0\x80.csv", _file),
    "dangling link": (b"{}dangling.csv", lambda path: os.symlink(b"/nowhere", path)),
    "link to itself": (b"{}loop.csv", lambda path: os.symlink(os.path.basename(path), path)),
    "pipe": (b"{}pipe.csv", os.mkfifo),
    "socket": (b"{}socket.csv", _socket),
    "device": (b"{}null.csv", lambda path: os.symlink(b"/dev/null", path)),
}


def make_foreign(folder: Path, kind: str, prefix: str = "") -> bytes:
    """Make one of FOREIGN in a folder; returns its path."""
    name, make = FOREIGN[kind]
    path = os.path.join(os.fsencode(folder), name.replace(b"{}", prefix.encode()))
    make(path)
    return path
