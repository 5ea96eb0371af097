"""A collector of OpenLineage events on 127.0.0.1, and the check of events against the published shapes.

The wheel of the official client has no JSON schemas, but classes that are generated from them, with the URL of each
schema. An event is checked against these: no unknown property, every required one, the type of each, and the place and
name of every facet.
"""

from __future__ import annotations

import json
import threading
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import attr
from openlineage.client import generated
from openlineage.client.event_v2 import RunEvent
from openlineage.client.generated import base

Rule = Callable[[int], int | threading.Event | None]
_PLACES = {
    "run": (base.RunFacet, "RunFacet"),
    "job": (base.JobFacet, "JobFacet"),
    "facets": (base.DatasetFacet, "DatasetFacet"),
    "inputFacets": (base.InputDatasetFacet, "DatasetFacet"),
    "outputFacets": (base.OutputDatasetFacet, "DatasetFacet"),
}
# The names of facets that do not follow from those of their classes.
_NAMES = {
    "SQLJobFacet": "sql",
    "DatasetVersionDatasetFacet": "version",
    "ProcessingEngineRunFacet": "processing_engine",
}


@dataclass
class CollectorServer:
    """`received` has the body and the headers of each request. `rule` gets its number, from 1, and gives the status of
    the answer, or an event before which no answer is sent, or None, which closes the connection."""

    url: str = ""
    rule: Rule = lambda number: 201
    received: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def collector_server() -> Iterator[CollectorServer]:
    """A running collector."""
    collector = CollectorServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.received.append(json.loads(body))
            collector.headers.append(dict(self.headers))
            collector.paths.append(self.path)
            answer = collector.rule(len(collector.received))
            if isinstance(answer, threading.Event):
                answer.wait(60)
            elif answer is not None:
                self.send_response(answer)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()


def events_in(path: Path) -> list[dict[str, Any]]:
    """The events of a file, each checked."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    for event in events:
        require_valid(event)
    return events


def require_valid(event: dict[str, Any]) -> None:
    """Check an event as it arrives."""
    _require(RunEvent, {name: value for name, value in event.items() if name != "schemaURL"}, "event")
    assert event["schemaURL"] == RunEvent._get_schema()
    _require_facets("run", event["run"]["facets"])
    _require_facets("job", event["job"]["facets"])
    for dataset in (*event["inputs"], *event["outputs"]):
        for place in ("facets", "inputFacets", "outputFacets"):
            _require_facets(place, dataset.get(place, {}))


def inputs_of(dataset: dict[str, Any]) -> dict[str, set[tuple[str, str, str]]]:
    """The (namespace, name, field) of the inputs of each column of a dataset."""
    fields = dataset["facets"].get("columnLineage", {}).get("fields", {})
    return {
        column: {(each["namespace"], each["name"], each["field"]) for each in found["inputFields"]}
        for column, found in fields.items()
    }


def _require_facets(place: str, facets: dict[str, Any]) -> None:
    kind, suffix = _PLACES[place]
    for name, facet in facets.items():
        of = _facet_classes()[facet["_schemaURL"]]
        stem = of.__name__.removesuffix(suffix).removesuffix("Input").removesuffix("Output")
        assert name == _NAMES.get(of.__name__, stem[0].lower() + stem[1:])
        assert issubclass(of, kind), f"{name} in {place}"
        assert facet["_producer"].startswith("pkg:pypi/pipeline-assets@")
        _require(of, {key.lstrip("_"): value for key, value in facet.items() if key != "_schemaURL"}, name)


@cache
def _facet_classes() -> dict[str, type]:
    found = {}
    for module in iter_modules(generated.__path__):
        for of in vars(import_module(f"{generated.__name__}.{module.name}")).values():
            if isinstance(of, type) and issubclass(of, base.BaseFacet):
                found[of._get_schema()] = of
    return found


def _require(of: Any, value: Any, where: str) -> None:
    """A JSON value has the form of a class of the client, whose validators then examine it."""
    if attr.has(of):
        hints = typing.get_type_hints(of)
        declared = {each.alias: each for each in attr.fields(of) if each.init}
        assert value.keys() <= declared.keys(), f"{where}: {value.keys() - declared.keys()}"
        for name, each in declared.items():
            if name in value:
                if name != "facets" and not name.endswith("Facets"):
                    _require(hints[each.name], value[name], f"{where}.{name}")
            else:
                assert each.default is not attr.NOTHING, f"{where}.{name} is missing"
        of(**value)
        return
    origin, arguments = typing.get_origin(of), typing.get_args(of)
    if origin in (typing.Union, types.UnionType):
        matching = [argument for argument in arguments if argument is not types.NoneType]
        assert value is not None, f"{where} is null"
        for argument in matching[:1]:
            _require(argument, value, where)
    elif origin is list:
        assert isinstance(value, list), where
        for number, element in enumerate(value):
            _require(arguments[0], element, f"{where}[{number}]")
    elif origin is dict:
        assert isinstance(value, dict), where
        for key, element in value.items():
            _require(arguments[1], element, f"{where}[{key}]")
    elif isinstance(of, type) and issubclass(of, Enum):
        of(value)
    elif of is not Any:
        wanted = (int, float) if of is float else of
        assert isinstance(value, wanted), f"{where} is {value!r}"
        assert not (of is int and isinstance(value, bool)), where
