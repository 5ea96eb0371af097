"""The list of tables: which tables of the source are loaded, and how. One YAML file, PIPELINE_REVIEWS_TABLES.

docs/reviews.md describes each option. All mistakes of a file are reported at once, each with its line and a remedy.
What only the source can tell, such as a column that is not there, is found by `doctor` and by the run.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline_assets.contracts.ddl import PROVENANCE
from pipeline_assets.contracts.mistakes import Mistakes
from pipeline_assets.contracts.properties import Level
from pipeline_assets.cron import is_cron
from pipeline_assets.errors import ConfigurationError

Strategy = Literal["upsert", "append_distinct", "full_refresh", "scd2"]
Deletes = Literal["ignore", "soft"]
Format = Literal["parquet", "csv"]
SchemaPolicy = Literal["evolve", "freeze"]

OBSERVATIONS = "_OBSERVATIONS"  # behind the name of the table with what was observed of an scd2 table
HISTORY_COLUMNS = ("VALID_FROM", "VALID_TO", "IS_CURRENT")
DELETED = "IS_DELETED"  # the column of tables with `deletes: soft`
_FILE = Level("the file", ("source", "tables"))
_TABLE = Level(
    "a table",
    (
        *("name", "key", "cursor", "strategy", "deletes", "trigger", "format", "schema"),
        *("owner", "description", "personal"),
    ),
)
_TRIGGER = Level("trigger", ("schedule", "event"))
_WORDS = {
    "strategy": get_args(Strategy),
    "deletes": get_args(Deletes),
    "format": get_args(Format),
    "schema": get_args(SchemaPolicy),
}
_KEYED = ("upsert", "scd2")
# Relations of the platform have other names.
_PLAIN = re.compile(r"(?!batch_|published_|lake_)[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST_NAME = 128
_IN_KEYS = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{,{_LONGEST_NAME - 1}}}")
# YAML takes escapes like "\\ud83d" one by one; what one half of a pair gives cannot be written to any file.
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_OWNER = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class ListedTable:
    """A table of the source. `key`, `cursor` and `personal` are its columns, as the source writes them.

    `schedule` is a cron expression, UTC; without one, the table is loaded when files land and by the daily run. With
    `event` it is never extracted: others land its files.
    """

    name: str
    key: tuple[str, ...]
    cursor: tuple[str, ...] = ()
    strategy: Strategy = "upsert"
    deletes: Deletes = "ignore"
    schedule: str | None = None
    event: bool = False
    format: Format = "parquet"
    schema: SchemaPolicy = "evolve"
    owner: str = "data-platform"
    description: str = ""
    personal: tuple[str, ...] = ()

    @property
    def is_keyed(self) -> bool:
        """Whether its key identifies a row."""
        return self.strategy in _KEYED

    @property
    def marks_deleted(self) -> bool:
        return self.deletes == "soft"

    @property
    def reserved(self) -> frozenset[str]:
        """The names, in upper case, of the columns that the platform adds to the table."""
        return frozenset((*PROVENANCE, DELETED) if self.marks_deleted else PROVENANCE)

    @property
    def folder(self) -> str:
        """The name of the table in keys of the lake."""
        if _IN_KEYS.fullmatch(self.name):
            return self.name
        return f"{re.sub('[^A-Za-z0-9_.-]', '_', self.name).lstrip('.')}-{_digest(self.name)}"


@dataclass(frozen=True)
class TableNames:
    """What a table is called: `dataset` in the ledger and in Dagster, `target` in the warehouse."""

    dataset: str
    target: str


@dataclass(frozen=True)
class TableList:
    """The tables of one source; `source` is the name of its database in the keys of the lake."""

    source: str
    tables: tuple[ListedTable, ...]

    @cached_property
    def names(self) -> Mapping[str, TableNames]:
        """The names of each table by its own name; the target is in upper case."""
        uppers = Counter(table.name.upper() for table in self.tables)
        found = {}
        for table in self.tables:
            is_unique = uppers[table.name.upper()] == 1
            dataset = table.name.lower()
            if not is_unique or not _PLAIN.fullmatch(dataset):
                dataset = f"{re.sub('[^a-z0-9]+', '_', dataset).strip('_')}_{_digest(table.name)}"
                dataset = dataset if _PLAIN.fullmatch(dataset) else f"table_{dataset}"
            found[table.name] = TableNames(dataset, table.name.upper())
        return found

    def table(self, dataset: str) -> ListedTable:
        """The table of a dataset."""
        return next(table for table in self.tables if self.names[table.name].dataset == dataset)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def load_table_list(path: Path) -> TableList:
    """Read the list of tables.

    Raises:
        ConfigurationError: the file cannot be read, or has mistakes; the message names each with its line.
    """
    import yaml

    mistakes = Mistakes(path.name)
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_aliases(yaml.parse(text, yaml.SafeLoader), mistakes)
        root = yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise ConfigurationError(
            f"The list of tables {path} cannot be read: {error.strerror}.",
            remedy="Set PIPELINE_REVIEWS_TABLES to the path of a YAML file, or unset it for the shipped example.",
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path.name}: is not UTF-8.", remedy="Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f": line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{path.name}{line}: is not YAML.", remedy="Correct the text there.") from None
    except RecursionError:
        raise ConfigurationError(f"{path.name}: is nested too deeply.", remedy="Write one level for a table.") from None
    return _Reader(mistakes).table_list(root)


def _refuse_aliases(events: Any, mistakes: Mistakes) -> None:
    """An alias may contain itself, and hides the line of what it repeats."""
    import yaml

    for event in events:
        if isinstance(event, yaml.AliasEvent):
            mistakes.add(f"line {event.start_mark.line + 1}", "is an alias.", "Write the value itself.")
    mistakes.refuse()


class _Reader:
    """Reads the nodes of a YAML document; mistakes are collected with their lines."""

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes

    def table_list(self, root: Any) -> TableList:
        given = self._mapping(root, "the file", _FILE)
        if not given:
            self._mistakes.refuse()
        source = self._text(given.get("source"), "source") if "source" in given else None
        if "source" not in given:
            self._add(root, "the file", "has no source.", "Write `source:` with the name of the database.")
        elif source and not _IN_KEYS.fullmatch(source):
            remedy = f"It becomes a folder of the lake: use at most {_LONGEST_NAME} letters, digits, _, . and -."
            self._add(given["source"], "source", f"{source[:40]!r} is not usable.", remedy)
        nodes = getattr(given.get("tables"), "value", None)
        if not isinstance(nodes, list) or not nodes or getattr(given["tables"], "id", "") != "sequence":
            self._add(given.get("tables", root), "tables", "is not a list of tables.", "Write `- name: …` for each.")
            nodes = []
        read = [(node, table) for node in nodes if (table := self._table(node))]
        self._refuse_duplicates(read)
        self._mistakes.refuse()
        return TableList(source or "", tuple(table for _, table in read))

    def _table(self, node: Any) -> ListedTable | None:
        given = self._mapping(node, "tables", _TABLE)
        if not given:
            return None
        name = self._text(given["name"], "name") if "name" in given else None
        if "name" not in given:
            self._add(node, "tables", "a table has no name.", "Write `name:` with its name in the source.")
        elif name is not None:
            self._require_usable(given["name"], "name", name)
        if not name:
            return None
        values: dict[str, Any] = {"name": name, "key": ()}
        for option in ("key", "cursor", "personal"):
            if option in given:
                values[option] = self._columns(given[option], f"{name}.{option}")
        for option, words in _WORDS.items():
            if option in given:
                values[option] = self._word(given[option], f"{name}.{option}", words)
        for option in ("owner", "description"):
            if option in given:
                values[option] = self._text(given[option], f"{name}.{option}") or ""
        if "trigger" in given:
            values |= self._trigger(given["trigger"], f"{name}.trigger")
        table = ListedTable(**values)
        if not _OWNER.fullmatch(table.owner):
            where = given.get("owner", node)
            self._add(where, f"{name}.owner", f"{table.owner!r} is not usable.", "Use letters, digits, _, . and -.")
        self._refuse_contradictions(node, given, table)
        return table

    def _refuse_contradictions(self, node: Any, given: Mapping[str, Any], table: ListedTable) -> None:
        name, strategy = table.name, table.strategy
        if strategy in _KEYED and not getattr(given.get("key"), "value", None):
            remedy = "Write `key: [column]`, or use append_distinct or full_refresh."
            self._add(given.get("key", node), f"{name}.key", f"is missing; {strategy} needs it.", remedy)
        if table.deletes == "soft" and strategy in ("append_distinct", "full_refresh"):
            remedy = (
                "Rows without an identity cannot be marked; use upsert or scd2."
                if strategy == "append_distinct"
                else "Its rows are those of the newest extract already; leave deletes out."
            )
            self._add(given["deletes"], f"{name}.deletes", f"soft does not go with {strategy}.", remedy)
        if strategy == "full_refresh" and table.cursor:
            remedy = "full_refresh extracts every row; leave cursor out."
            self._add(given["cursor"], f"{name}.cursor", "is not read.", remedy)
        if table.event:
            for option in ("cursor", "deletes", "format"):
                if option in given:
                    remedy = "With `event: true` others land the files; leave it out, or leave event out."
                    self._add(given[option], f"{name}.{option}", "says how to extract.", remedy)
        for column in table.key:
            if column.upper() in table.reserved or (strategy == "scd2" and column.upper() in HISTORY_COLUMNS):
                remedy = "The platform has a column of that name; rename it in a view of the source, and list the view."
                self._add(given["key"], f"{name}.key", f"{column!r} is reserved.", remedy)

    def _refuse_duplicates(self, read: Sequence[tuple[Any, ListedTable]]) -> None:
        names: dict[str, int] = {}
        for node, table in read:
            line = node.start_mark.line + 1
            if table.name in names:
                self._add(node, table.name, f"is listed in line {names[table.name]} already.", "Remove one of them.")
            names.setdefault(table.name, line)
        listed = {table.name.upper(): table.name for _, table in read}
        for node, table in read:
            other = listed.get(f"{table.name.upper()}{OBSERVATIONS}")
            if table.strategy == "scd2" and other:
                remedy = "Choose another strategy, or list a view of the source with another name."
                self._add(node, table.name, f"keeps its observations in a table named like {other!r}.", remedy)

    def _trigger(self, node: Any, where: str) -> dict[str, Any]:
        given = self._mapping(node, where, _TRIGGER)
        if getattr(node, "id", "") == "mapping" and len(given) != 1:
            self._add(node, where, f"has {len(given)} entries.", "Write `schedule: <cron>` or `event: true`.")
        values: dict[str, Any] = {}
        if "schedule" in given and (cron := self._text(given["schedule"], f"{where}.schedule")):
            values["schedule"] = cron
            if not is_cron(cron):
                remedy = "A cron expression has five fields, e.g. `15 5 * * *`; it is read in UTC."
                self._add(given["schedule"], f"{where}.schedule", f"{cron!r} is not a cron expression.", remedy)
        if "event" in given:
            node = given["event"]
            is_word = node.id == "scalar" and node.tag.endswith(":bool")  # the tag may be written before a list, too
            values["event"] = is_word and node.value.lower() in ("true", "yes", "on")
            if not values["event"]:
                self._add(node, f"{where}.event", "is not true.", "Write `event: true`, or leave trigger out.")
        return values

    def _mapping(self, node: Any, where: str, level: Level) -> dict[str, Any]:
        """The nodes of a mapping by name; unknown and repeated names are mistakes."""
        if getattr(node, "id", "") != "mapping":
            self._add(node, where, "has no entries.", f"Known: {', '.join(level.read)}.")
            return {}
        given: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value) if key.id == "scalar" else "a list or mapping"
            if name in given:
                self._add(key, where, f"{name} is given twice.", "Remove one of them.")
            given.setdefault(name, value)
            self._mistakes.unread(f"line {key.start_mark.line + 1}: {where}", {name: None}, level)
        return {name: value for name, value in given.items() if name in level.read}

    def _text(self, node: Any, where: str) -> str | None:
        """The text of a node; None, and a mistake, if it has none or YAML takes it for something else."""
        if getattr(node, "id", "") != "scalar" or node.tag != "tag:yaml.org,2002:str" or not node.value.strip():
            self._add(node, where, "is not a text.", "Write one; put numbers, dates and words like no into quotes.")
            return None
        if _HALF_CHARACTER.search(node.value):
            self._add(node, where, "has half a character.", "Write the character itself instead of its escapes.")
            return None
        return str(node.value)

    def _columns(self, node: Any, where: str) -> tuple[str, ...]:
        nodes = node.value if node.id == "sequence" else [node]
        columns = [text for each in nodes if (text := self._text(each, where)) is not None]
        for column in columns:
            self._require_usable(node, where, column)
        for column, count in Counter(column.upper() for column in columns).items():
            if count > 1:
                self._add(node, where, f"{column} is given twice.", "Remove one of them.")
        return tuple(columns)

    def _require_usable(self, node: Any, where: str, name: str) -> None:
        if len(name) > _LONGEST_NAME or not name.isprintable() or name != name.strip():
            remedy = f"Use at most {_LONGEST_NAME} characters, without line ends and outer blanks."
            self._add(node, where, f"{name[:40]!r} is not usable.", remedy)

    def _word(self, node: Any, where: str, words: Sequence[str]) -> str:
        text = self._text(node, where)
        if text is not None:
            self._mistakes.one_of(f"line {node.start_mark.line + 1}: {where}", text, words)
        return text if text is not None and text in words else words[0]

    def _add(self, node: Any, where: str, what: str, remedy: str) -> None:
        line = node.start_mark.line + 1 if node is not None else 1
        self._mistakes.add(f"line {line}: {where}", what, remedy)
