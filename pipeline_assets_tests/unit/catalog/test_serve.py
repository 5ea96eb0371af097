"""The catalog over HTTP: written anew when there is something newer, and the earlier site if that fails."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from pipeline_assets.catalog import serve
from pipeline_assets.catalog.serve import CatalogServer
from pipeline_assets.errors import WarehouseError


@dataclass
class Site:
    """A served folder; `newest` is what a request finds, `error` what keeps the site from being written."""

    folder: Path
    newest: object = "run 1"
    error: str = ""
    built: list[object] = field(default_factory=list)
    url: str = ""
    may_build: threading.Event = field(default_factory=threading.Event)

    def build(self) -> str:
        self.may_build.wait(20)
        self.built.append(self.newest)
        if self.error:
            return self.error
        (self.folder / "site-1").mkdir(parents=True, exist_ok=True)
        (self.folder / "index.html").write_text(f"of {self.newest}", encoding="utf-8")
        return ""

    def state(self) -> object:
        if isinstance(self.newest, Exception):
            raise self.newest
        return self.newest

    def get(self, path: str = "/") -> str:
        with urlopen(self.url + path, timeout=20) as response:
            assert response.headers["Cache-Control"] == "no-cache"
            return response.read().decode()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "catalog")
    site.may_build.set()
    server = CatalogServer(socket.create_server(("127.0.0.1", 0)), site.folder, site.state, site.build)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield site
    server.shutdown()
    server.server_close()


def test_the_site_is_written_when_a_request_finds_something_newer(site: Site) -> None:
    assert [site.get(), site.get("/index.html"), site.get("/?x#/health")] == ["of run 1"] * 3
    site.newest = "run 2"
    assert [site.get(), site.get()] == ["of run 2"] * 2
    assert site.built == ["run 1", "run 2"]


def test_a_failure_leaves_the_earlier_site_and_is_tried_again(site: Site, capsys: pytest.CaptureFixture) -> None:
    site.get()
    site.newest, site.error = "run 2", "The warehouse is locked."
    assert [site.get(), site.get()] == ["of run 1"] * 2
    assert capsys.readouterr().err == "The catalog could not be written. The warehouse is locked.\n" * 2
    site.error = ""
    assert site.get() == "of run 2"
    site.newest = WarehouseError("Dagster's database is damaged.")
    assert site.get() == "of run 2"
    assert "Dagster's database is damaged." in capsys.readouterr().err


def test_without_any_site_a_request_says_where_the_reason_is_and_asks_again(site: Site) -> None:
    site.error = "No."
    with pytest.raises(HTTPError, match="503") as refused:
        site.get()
    assert (refused.value.headers["Refresh"], refused.value.read().decode()) == ("2", serve._BEING_WRITTEN)


def test_a_request_waits_for_a_newer_site_and_then_gets_the_earlier_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.get()
    monkeypatch.setattr(serve, "PATIENCE", 0.01)
    site.newest, site.may_build = "run 2", threading.Event()
    assert [site.get(), site.get()] == ["of run 1"] * 2
    site.may_build.set()
    monkeypatch.setattr(serve, "PATIENCE", 20)
    assert site.get() == "of run 2"
    assert site.built == ["run 1", "run 2"]


def test_requests_at_once_write_one_site(site: Site) -> None:
    threads = [threading.Thread(target=site.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.built == ["run 1"]


@pytest.mark.parametrize("path", ["/site-1/", "/nothing", "/../secret", "/%2e%2e/secret", "//etc/passwd"])
def test_nothing_but_files_of_the_site_is_served(site: Site, path: str) -> None:
    site.get()
    (site.folder.parent / "secret").write_text("x", encoding="utf-8")
    with pytest.raises(HTTPError, match="404"):
        site.get(path)
