"""What values of settings may be, beyond their types: the home, endpoints, JSON objects.

Each function returns the value to use, or raises ValueError. Its message says what is expected and never repeats the
value, as it may contain a password. Of a path only the part that a library cannot open is named.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationInfo

# Parts of a path that a library cannot open, and that library. Tests use folders with other unusual characters.
_NOT_IN_HOMES = {
    "'": "the embedded warehouse (fakesnow puts it between quotes)",
    r"\\": "the embedded warehouse (DuckDB drops a backslash)",
    r"(?<![$\w])\$(?!\d)\w+": "the embedded warehouse (fakesnow takes it for a variable)",
    r"\?|%[0-9A-Fa-f]{2}": "Dagster's database (SQLAlchemy reads the path as a URL)",
    r"\*|\[[^/]*\]": "Dagster (it reads the path of dagster.yaml as a pattern)",
    r"[\x00-\x1f\x7f\ud800-\udfff]": "the lake",
}


def absolute_home(home: Path) -> Path:
    """The absolute path of a folder that all libraries can open."""
    try:
        path = os.path.abspath(home.expanduser())
    except RuntimeError:
        raise ValueError("that user has no home folder") from None
    for pattern, whose in _NOT_IN_HOMES.items():
        if found := re.search(pattern, path):
            raise ValueError(f"{whose} cannot open a path with {found[0]!r} in it; choose a folder without it")
    return Path(path)


def queue_of_each_pipeline(queues: object) -> object:
    """A JSON object, or its value: the URL of a queue by pipeline."""
    try:
        urls: Any = json.loads(queues) if isinstance(queues, str) else queues
        is_valid = all(urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname for url in urls.values())
    except (ValueError, AttributeError, TypeError):
        is_valid = False
    if not is_valid:
        raise ValueError('a JSON object of pipelines and queue urls is expected: {"bookings": "https://sqs…"}')
    return urls


def path_of_each_stream(watched: object) -> object:
    """A JSON object, or its value: an absolute path by stream, with wildcards in its last part only."""
    try:
        given: Any = json.loads(watched) if isinstance(watched, str) else watched
        paths = {stream: Path(path).expanduser() for stream, path in given.items()}
        is_valid = all(path.is_absolute() and path.name for path in paths.values())
    except (ValueError, AttributeError, TypeError, RuntimeError):
        is_valid = False
    if not is_valid:
        raise ValueError('a JSON object of streams and absolute paths is expected: {"orders": "/shop/orders*.csv"}')
    if any(set("*?[") & set(str(path.parent)) for path in paths.values()):
        raise ValueError("wildcards may be in the name of the file, not in its folder")
    return {stream: str(path) for stream, path in paths.items()}


def endpoint(url: str | None, setting: ValidationInfo) -> str | None:
    """An HTTP URL without credentials, which other settings take."""
    try:
        parts = urlsplit(url or "https://aws")
        is_valid = (
            parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
        ) and not (parts.fragment or "apikey=" in parts.query.lower())
    except ValueError:  # its message may repeat a password
        is_valid = False
    if not is_valid:
        keys = {"movies_api_url": "PIPELINE_MOVIES_API_KEY", "openlineage_url": "PIPELINE_OPENLINEAGE_API_KEY"}
        own = keys.get(str(setting.field_name), "AWS_ACCESS_KEY_ID and so on")
        raise ValueError(f"http(s)://host[:port] is expected; credentials go to {own}")
    return url
