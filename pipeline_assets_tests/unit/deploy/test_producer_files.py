"""The shipped files of a producer: the systemd unit and the configuration of Kinesis Agents fit to what is deployed."""

from __future__ import annotations

import configparser
import json
import re
from typing import Any

import pytest

from pipeline_assets.cli import app
from pipeline_assets.commerce.pipeline import COMMERCE
from pipeline_assets.settings import PROJECT_ROOT, Settings, load_settings

INFRA = PROJECT_ROOT / "infra"


@pytest.fixture
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(INFRA / "pipeline-assets-stream.service")
    return parser


def test_the_unit_starts_a_command_that_exists_and_restarts_it(unit: configparser.ConfigParser) -> None:
    program, *words = unit["Service"]["ExecStart"].split()
    assert program.endswith("/pipeline-assets")
    assert words == ["stream"]
    assert "stream" in {command.name or command.callback.__name__ for command in app.registered_commands}
    assert unit["Service"]["Restart"] == "on-failure"


def test_the_unit_lets_the_producer_write_its_home_only(unit: configparser.ConfigParser) -> None:
    service = unit["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["Environment"] == f"PIPELINE_HOME=/var/lib/{service['StateDirectory']}"


def test_the_agent_delivers_to_each_stream_of_the_stack() -> None:
    flows: list[dict[str, Any]] = json.loads((INFRA / "agent.json").read_text())["flows"]
    stack = load_settings().stack_name
    assert [flow["deliveryStream"] for flow in flows] == [f"{stack}-{stream.name}" for stream in COMMERCE.streams]
    assert {flow["initialPosition"] for flow in flows} == {"START_OF_FILE"}


def test_the_documents_name_settings_that_exist() -> None:
    texts = [
        (PROJECT_ROOT / name).read_text() for name in ("docs/streaming.md", "infra/pipeline-assets-stream.service")
    ]
    named = set(re.findall(r"PIPELINE_([A-Z_]+)", "\n".join(texts)))
    assert named <= {name.upper() for name in Settings.model_fields}
