"""Every command of README.md and docs/ is typed in a copy of the project, in the order of its page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline_assets_tests.support.guides import Checkout, Command, GuideError, commands_to_run, pages, warm_commands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2000)]

README, FIRST = "README.md", "docs/first-hour.md"
OTHERS = [page for page in pages() if page not in (README, FIRST) and commands_to_run(page)]


def beginning() -> list[Command]:
    """The commands of the two pages that begin in a new copy, with the same command, which is typed once."""
    (demo, *shown), (same, *hour) = commands_to_run(README), commands_to_run(FIRST)
    assert demo.text.split("#")[0].strip() == same.text
    return [replace(same, expected=same.expected + demo.expected), *shown, *hour]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A copy of the project after README.md and the first hour, with which the other guides continue."""
    folder = tmp_path_factory.mktemp("guides")
    with warm_commands(folder) as server:
        checkout = Checkout(folder / "pipeline_assets", server)
        checkout.run(beginning())
        yield checkout


@pytest.mark.parametrize("page", OTHERS)
def test_each_command_of_a_page_does_what_the_page_says(checkout: Checkout, page: str) -> None:
    checkout.run(commands_to_run(page))


@pytest.mark.parametrize(
    ("typed", "expected", "message"),
    [
        ("false", (), "ends with 1"),
        ("echo one two", ("two one",), "does not say 'two one'"),
        ("echo $((1 + 1))", ("3",), "does not say '3'"),
        ("exit 3", (), "ended the shell"),
    ],
)
def test_a_command_that_does_something_else_is_named_with_its_line(
    checkout: Checkout, typed: str, expected: tuple[str, ...], message: str
) -> None:
    with pytest.raises(GuideError, match=message) as raised:
        checkout.run([Command("docs/page.md", 7, typed, expected)])
    assert str(raised.value).startswith("docs/page.md:7: $ ")
