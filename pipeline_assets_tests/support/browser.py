"""Pages in Debian's headless Chromium, and what they did: messages of the console, errors, requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline_assets_tests.support.servers import SERVERS, requires_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@dataclass
class Visit:
    """An open page; `complaints` has errors and messages of the console, `requests` every address it asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Wait until the page shows a heading."""
        self.page.get_by_role("heading", level=1, name=text, exact=True).wait_for()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; skips the calling test where it is missing."""
    requires_server("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        program = SERVERS["chromium"].program("chromium")
        # Root may not start its sandbox, and containers have a small /dev/shm.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@contextmanager
def visit(browser: Browser, **context: Any) -> Iterator[Visit]:
    """A new page, in a window of 1200 by 800 unless `context` says otherwise."""
    window = browser.new_context(**{"viewport": {"width": 1200, "height": 800}} | context)
    page = window.new_page()
    page.set_default_timeout(30_000)
    visited = Visit(page)
    page.on("console", lambda message: visited.complaints.append(message.text))
    page.on("pageerror", lambda error: visited.complaints.append(str(error)))
    page.on("request", lambda request: visited.requests.append(request.url))
    yield visited
    window.close()
