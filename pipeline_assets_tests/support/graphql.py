"""Queries of Dagster's web server, as its UI makes them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

# What a question raises while nothing listens, or while the code location loads and answers have no data.
NO_ANSWER = (OSError, KeyError, TypeError)
_STOP = """mutation($id: String!) { stopSensor(id: $id) {
  __typename ... on StopSensorMutationResult { instigationState { status } } ... on PythonError { message }
} }"""
_SENSORS = """{ repositoriesOrError { ... on RepositoryConnection { nodes { sensors { name sensorState { id status } }
} } } }"""


def ask(port: int, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The `data` of the response of the server on a port of 127.0.0.1; no proxy is used."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            return json.load(response)["data"]
    except urllib.error.HTTPError as error:  # with the error as data, unless the server is starting
        raise OSError(f"{error}: {error.read().decode(errors='replace')}") from None


def stop_sensors(port: int, *names: str) -> None:
    """Switch sensors off, as the UI's switches do; all of them if none is named."""
    (location,) = ask(port, _SENSORS, {})["repositoriesOrError"]["nodes"]
    for sensor in location["sensors"]:
        state = sensor["sensorState"]
        if state["status"] == "RUNNING" and (not names or sensor["name"] in names):
            answer = ask(port, _STOP, {"id": state["id"]})["stopSensor"]
            assert answer["__typename"] == "StopSensorMutationResult", answer
