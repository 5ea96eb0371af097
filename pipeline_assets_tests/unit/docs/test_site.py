"""The site of `make docs`: every page is in it, every link leads somewhere, and nothing is fetched from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline_assets.settings import PROJECT_ROOT
from pipeline_assets_tests.support.guides import pages


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning fails, as with `--strict`."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(PROJECT_ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.run_event("startup", command="build", dirty=False)
    build(config)
    return folder


def test_every_page_is_in_the_navigation(site: Path) -> None:
    first = (site / "index.html").read_text()
    for page in [Path(page).stem.lower() for page in pages() if page != "README.md"]:
        assert f'href="{page}.html"' in first


def test_the_first_page_is_the_readme(site: Path) -> None:
    heading = re.search(r"(?m)^## (.*)$", (PROJECT_ROOT / "README.md").read_text())
    assert heading
    assert heading[1] in (site / "index.html").read_text()


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    fetched = re.compile(
        r"""(?:<(?:script|img|iframe)\b[^>]*\bsrc|<link\b[^>]*\bhref)\s*=\s*["']?((?:https?:)?//[^"'\s>]+)"""
    )
    for path in site.rglob("*.html"):
        assert not fetched.findall(path.read_text()), path.name
    imported = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")
    for path in site.rglob("*.css"):
        assert not imported.findall(path.read_text()), path.name


def test_every_fence_becomes_a_block_of_code(site: Path) -> None:
    """The site's Markdown takes a fence in a list, or with words behind its language, for text."""
    for path in site.rglob("*.html"):
        assert "```" not in path.read_text(), path.name
