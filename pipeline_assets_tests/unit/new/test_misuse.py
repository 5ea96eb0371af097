"""`new` writes everything or nothing, and says in one line why it cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline_assets import cli, settings
from pipeline_assets.deploy.aws import template
from pipeline_assets.new import create as module
from pipeline_assets.new.create import create
from pipeline_assets_tests.support.checkout import ORDERS_CSV, copy_checkout, tree


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tests of this file, as none of them may change it."""
    return copy_checkout(tmp_path_factory.mktemp("misuse") / "copy")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.csv"
    path.write_text(ORDERS_CSV)
    return path


@pytest.fixture
def new(checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Call `pipeline-assets new` for the copy; returns (exit code, stdout, stderr)."""
    monkeypatch.setattr(settings, "PROJECT_ROOT", checkout)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline-assets", "new", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    "name", ["orders", "or_ders", "lake", "settings", "platform", "new", "class", "select", "Shop"]
)
def test_a_name_that_is_taken_or_unusable(checkout: Path, new, sample: Path, name: str) -> None:
    before = tree(checkout)
    code, out, err = new(name, "--from", str(sample))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert name in err or "or" in name
    assert tree(checkout) == before


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, (), "There is no file"),
        ("folder", (), "is a folder"),
        (b"", (), "has no rows"),
        (b"a,b\n", (), "has no rows"),
        (b"[]", (), "has no rows"),
        (b"[1, 2]", (), "has no rows"),
        (b"a,b\n\xff,1\n", (), "is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), (), "is not UTF-8"),
        (b"\x1f\x8b123", (), "truncated or corrupt"),
        (b'{"a": 1', (), "malformed"),
        (b"a,a\n1,2\n", (), "more than once"),
        (b"id,order\n1,2\n", (), "'ORDER', which cannot be a column name"),
        (b"id:b\n1:2\n", (), "separated by commas, semicolons, tabs, vertical bars"),
        (b"id;id\n1;2\n", (), "more than once"),
        (b"id,b\n1,2\n", ("--form", "json"), "looks like CSV"),
        (b'[{"id": 1}]', ("--form", "csv"), "looks like JSON"),
        (b"id,b\n1,2\n", ("--key", "c"), "There are ID, B"),
        (b"id,b\n1,2\n1,3\n", ("--key", "id"), "the same value in several records"),
        (b'[{"a": 1, "l": [{"b": 1}]}, {"a": 1}]', (), "Name the key with --key"),
    ],
)
def test_a_sample_that_cannot_be_one(checkout: Path, new, tmp_path: Path, content, arguments, message) -> None:
    before = tree(checkout)
    path = tmp_path / "sample"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    code, out, err = new("shop", "--from", str(path), *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert tree(checkout) == before


def test_an_installed_package_has_no_checkout(new, sample: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(settings, "PROJECT_ROOT", tmp_path)
    code, _, err = new("shop", "--from", str(sample))
    assert (code, err.count("\n")) == (2, 1)
    assert "installed without" in err


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device", "x")])
@pytest.mark.parametrize("at", ["template", "registry", "copied"])
def test_whatever_stops_it_the_checkout_is_as_it_was(checkout: Path, sample: Path, monkeypatch, fault, at) -> None:
    before = tree(checkout)
    replace, stopped = module._replace, []

    def failing(path: Path, content: bytes) -> None:
        hit = path.name == ("template.yaml" if at == "template" else "pipelines.py") and not stopped
        if not hit or at == "copied":
            replace(path, content)
        if hit:
            stopped.append(path)
            raise fault

    monkeypatch.setattr(module, "_replace", failing)
    with pytest.raises((KeyboardInterrupt, module.ConfigurationError)):
        create(checkout, "shop", sample, (), None, lambda text: None)
    assert stopped
    assert tree(checkout) == before
    assert not (checkout / "pipeline_assets" / "shop").exists()


def test_what_would_not_load_is_not_written(checkout: Path, sample: Path, monkeypatch) -> None:
    before = tree(checkout)
    monkeypatch.setattr(
        module.render, "selects", lambda *given: {"shop": "-- Grain: one row.\nSELECT SHOP.ID FROM SHOP\n"}
    )
    with pytest.raises(module.ConfigurationError, match="does not select"):
        create(checkout, "shop", sample, (), None, lambda text: None)
    assert tree(checkout) == before
    assert template.rendered()
