"""infra/dagster.yaml and the Containerfile as files: what can be known about them without a server or a builder.

No container engine is at hand where these tests run, so the image itself is never built here; what its lines name is
looked up instead.
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef

from pipeline_assets_tests.support.servers import SERVERS, Server, requires_server

ROOT = Path(__file__).resolve().parents[3]
CONFIG = (ROOT / "infra" / "dagster.yaml").read_text()
CONTAINERFILE = (ROOT / "Containerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", CONTAINERFILE)).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def test_dagster_accepts_the_production_file() -> None:
    config, _ = dagster_instance_config(str(ROOT / "infra"))
    assert config["run_retries"] == {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}
    assert config["concurrency"]["pools"] == {"granularity": "run", "default_limit": 1}
    assert config["telemetry"] == {"enabled": False}


@pytest.mark.parametrize("variable", sorted(re.findall(r"env: (\w+)", CONFIG)))
def test_a_missing_variable_is_named(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in re.findall(r"env: (\w+)", CONFIG):
        monkeypatch.setenv(name, "eu-west-1" if name == "AWS_DEFAULT_REGION" else "1")
    monkeypatch.delenv(variable)
    (tmp_path / "dagster.yaml").write_text(CONFIG)
    part = "storage" if "POSTGRES" in variable else "compute_log_manager"
    with pytest.raises(dg.DagsterInvalidConfigError, match=variable):
        getattr(InstanceRef.from_dir(str(tmp_path)), part)


def test_what_differs_between_installations_comes_from_the_environment_only() -> None:
    """Neither a password nor a host, bucket or account stands in the file."""
    storage = yaml.safe_load(CONFIG)["storage"]["custom"]["config"]["postgres_db"]
    logs = yaml.safe_load(CONFIG)["compute_logs"]["config"]
    scheme = storage.pop("scheme")
    assert scheme == "postgresql+psycopg2"
    assert all(list(value) == ["env"] for value in storage.values())
    assert all(list(logs[name]) == ["env"] for name in ("bucket", "prefix", "region"))


def test_every_pipeline_has_a_pool_so_that_the_limit_applies_to_it() -> None:
    from pipeline_assets.definitions import build_definitions
    from pipeline_assets.settings import load_settings

    pools = {
        asset.op.name: asset.op.pool
        for asset in build_definitions(load_settings()).resolve_asset_graph().assets_defs
        if asset.is_executable and not asset.check_keys
    }
    assert pools
    assert all(pool == name.removesuffix("_batch") for name, pool in pools.items()), pools


def test_what_the_image_copies_exists() -> None:
    for line in instructions("COPY"):
        if "--from=" in line:
            continue
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        assert sources
        for source in sources:
            assert (ROOT / source).exists(), source


def test_the_programs_that_the_image_starts_are_installed() -> None:
    installed = {entry.name for entry in entry_points(group="console_scripts")}
    command = next(line for line in instructions("CMD"))
    health = re.search(r'CMD \["(\w+)"', next(line for line in instructions("HEALTHCHECK")))
    assert health
    assert {
        yaml.safe_load(command)[0],
        health[1],
        "dagster-daemon",
        "dagster-webserver",
        "pipeline-assets",
    } <= installed


def example_of_the_docs() -> dict[str, Any]:
    example = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    assert example
    return yaml.safe_load(example[1])["services"]


def test_each_volume_lies_on_a_folder_that_the_image_gives_to_its_user() -> None:
    """On one that is not there a fresh volume is root's, and no run can write its scratch."""
    user = next(re.search(r"--uid 10001 .* (\w+)$", line) for line in instructions("RUN") if "useradd" in line)
    assert user
    made = {
        folder
        for line in instructions("RUN")
        if (found := re.fullmatch(rf"install -d -o {user[1]} -g {user[1]} (.+)", line))
        for folder in found[1].split()
    }
    paths = [volume.split(":")[1] for found in example_of_the_docs().values() for volume in found.get("volumes", ())]
    assert paths
    assert set(paths) <= made
    assert INSTRUCTIONS.index("USER 10001") > max(n for n, line in enumerate(INSTRUCTIONS) if "install -d" in line)


def test_the_example_of_the_docs_starts_programs_that_exist_with_files_that_the_image_holds() -> None:
    services = example_of_the_docs()
    assert list(services) == ["code", "daemon", "webserver"]
    installed = {entry.name for entry in entry_points(group="console_scripts")}
    for name in ("daemon", "webserver"):
        program, *_, workspace = services[name]["command"]
        assert program in installed
        assert workspace == "/var/lib/pipeline/dagster/workspace.yaml"
    assert any(
        line.endswith("/var/lib/pipeline/dagster/") and "workspace.yaml" in line for line in instructions("COPY")
    )
    assert services["webserver"]["ports"] == ["127.0.0.1:3000:3000"]


def test_the_docs_name_every_variable_of_the_production_files() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    named = set(re.findall(r"`(\w+)`", text)) | {f"DAGSTER_POSTGRES{part}" for part in re.findall(r"`(_[A-Z]+)`", text)}
    wanted = set(re.findall(r"env: (\w+)", CONFIG + (ROOT / "infra" / "workspace.yaml").read_text()))
    assert wanted <= named, wanted - named


def test_the_image_runs_as_nobody_special_and_holds_no_secret() -> None:
    assert instructions("USER") == ["10001"]
    assert not re.search(r"(?i)password|secret_|private_key|token|ARG ", "\n".join(INSTRUCTIONS))


def test_the_base_image_names_no_registry() -> None:
    assert {line.split()[0] for line in instructions("FROM")} == {"python:3.11-slim"}


def test_a_missing_server_skips_a_test_and_fails_it_under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SERVERS, "absent", Server("no-such-package", ("no-such-program",)))  # type: ignore[arg-type]
    monkeypatch.setenv("CI", "false")
    with pytest.raises(pytest.skip.Exception, match="apt-get install no-such-package"):
        requires_server("absent")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install no-such-package"):
        requires_server("absent")
