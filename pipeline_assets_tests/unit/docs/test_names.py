"""What README.md and docs/ name is there: commands and their options, targets of make, settings, files."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from pipeline_assets.settings import PROJECT_ROOT, Settings
from pipeline_assets_tests.support.guides import blocks, pages

TEXTS = {page: (PROJECT_ROOT / page).read_text(encoding="utf-8") for page in pages()}
# Objects of Snowflake, a tag of the image, and starts of names.
NO_SETTINGS = {
    *("PIPELINE_LAKE", "PIPELINE_LOADER", "PIPELINE_MONTHLY", "PIPELINE_SECRET_ID", "PIPELINE_SERVICE"),
    "PIPELINE_VERSION",
}
ROOTS = ("pipeline_assets/", "pipeline_assets_tests/", "sql/", "infra/", "docs/")
# What a reader of docs/add-a-pipeline.md makes.
MADE = ("shop_orders", "customers.yaml", "samples/NAME")
_SPAN = re.compile(r"`([^`\n]+(?:\n *[^`\n]+)?)`")
_ENDS = {"|", "&&", "||", ";", ">", ">>", "<", "&", "2>", "<<"}


@functools.cache
def programs() -> dict[str, Any]:
    from dagster._cli import create_dagster_cli
    from dagster._daemon.cli import create_dagster_daemon_cli
    from dagster_webserver.cli import dagster_webserver

    from pipeline_assets.cli import app

    return {
        "pipeline-assets": typer.main.get_command(app),
        "dagster": create_dagster_cli(),
        "dagster-webserver": dagster_webserver,
        "dagster-daemon": create_dagster_daemon_cli(),
    }


def typed(page: str) -> Iterator[str]:
    """Every command of a page: in console blocks, and in the text between backticks."""
    for block in blocks(page):
        if block.language == "console":
            yield from (command.text for command in block.commands())
    without_blocks = re.sub(r"(?ms)^ *```.*?^ *```$", "", TEXTS[page])
    for span in _SPAN.findall(without_blocks):
        yield " ".join(span.split())


def calls(text: str) -> Iterator[list[str]]:
    """The calls of our programs in a command, as words: `$(pipeline-assets …)` and both sides of a pipe."""
    text = re.sub(r"<<'(\w+)'.*", "", text, flags=re.DOTALL)
    for found in re.finditer(r"(?:^|[\s(|;/])(pipeline-assets|dagster(?:-webserver|-daemon)?|make)(?= )", text):
        lexer = shlex.shlex(text[found.start(1) :].replace("…", ""), posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, "#"
        words = []
        try:
            for word in lexer:
                if word in _ENDS or word.startswith(")"):
                    break
                words.append(word)
        except ValueError:  # the quote ends with what is around the call
            words = text[found.start(1) :].split()
        yield words


def refused(command: Any, words: list[str]) -> str | None:
    """What a program would say about the names in its call: a command or an option that is not there."""
    rest = list(words[1:])
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        for alternative in name.split("|"):
            if alternative not in command.commands:
                return f"no command {alternative!r}"
        command = command.commands[name.split("|")[0]]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in rest:
        for option in re.findall(r"^\[?(--?[a-z][\w-]*)", word):
            if option not in options:
                return f"no option {option}"
    return None


def missing_name(words: list[str]) -> str | None:
    """The command, option or target that a call names and that is not there."""
    if words[0] != "make":
        return refused(programs()[words[0]], words)
    targets = set(re.findall(r"(?m)^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text()))
    return next((f"no target {word}" for word in words[1:] if word.islower() and word not in targets), None)


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_and_option_exists(page: str) -> None:
    found = [(text, missing_name(words)) for text in typed(page) for words in calls(text)]
    assert not [each for each in found if each[1]]


@pytest.mark.parametrize("page", TEXTS)
def test_commands_stand_in_blocks_that_are_run_or_say_why_not(page: str) -> None:
    program = re.compile(
        r"(?m)^(\$ )?(\.venv/bin/)?(pipeline-assets|make|dagster\S*|python|docker|aws|export|curl) [a-z-]"
    )
    others = [block for block in blocks(page) if block.language != "console" and not block.text.startswith("#!")]
    assert not [f"{page}:{block.line}" for block in others if program.search(block.text)]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("pipeline-assets runs bookings", "no command 'runs'"),
        ("x=$(pipeline-assets query 'SELECT 1' --form csv | tail -1)", "no option --form"),
        ("cat x | pipeline-assets quarantine close ID", "no command 'close'"),
        ("pipeline-assets quarantine discard bookings --id ID --because x", "no option --because"),
        ("dagster-webserver --readonly -w workspace.yaml &", "no option --readonly"),
        ("dagster instance upgrade", "no command 'upgrade'"),
        ("make guides", "no target guides"),
        ("pipeline-assets run bookings [--json] [--engine spark]", None),
        ("pipeline-assets query 'SELECT 1 -- nothing' --format csv", None),
    ],
)
def test_a_name_that_is_not_there_is_found(typed: str, message: str | None) -> None:
    (words,) = calls(typed)
    assert missing_name(words) == message


@pytest.mark.parametrize("page", TEXTS)
def test_every_setting_exists(page: str) -> None:
    known = {f"PIPELINE_{name.upper()}" for name in Settings.model_fields} | NO_SETTINGS
    named = re.findall(r"\bPIPELINE_[A-Z_]*[A-Z](?!\w|_?…)", TEXTS[page])
    assert set(named) <= known


@pytest.mark.parametrize("page", TEXTS)
def test_every_file_exists(page: str) -> None:
    """Modules are named by their path in the project, or in the package."""
    missing = []
    for span in _SPAN.findall(TEXTS[page]):
        for path in re.findall(r"(?<![\w/.$-])[\w.{},*<>/-]+/[\w.{},*<>/-]*", span):
            named = path.startswith(ROOTS) or path.endswith(".py")
            if not named or re.search(r"[<>]", path) or any(part in path for part in MADE):
                continue
            start, brace, rest = path.partition("{")
            options, _, end = rest.partition("}")
            for each in [f"{start}{option}{end}" for option in options.split(",")] if brace else [path]:
                places = [each, f"pipeline_assets/{each}", f"pipeline_assets_tests/{each}"]
                if not any(any(PROJECT_ROOT.glob(place.rstrip("/"))) for place in places):
                    missing.append(each)
    assert not missing
