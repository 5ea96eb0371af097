"""Histories of a table's rows: slowly changing dimensions of type 2, computed from appended observations.

The SELECT of a history is generated from its contract, and refreshed like a mart by the business key: all rows of a key
are computed from all of its observations, so late and repeated ones give the same rows in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline_assets.contracts import Column, Contract
from pipeline_assets.contracts.ddl import exact_text, target_table
from pipeline_assets.contracts.model import QualityRule
from pipeline_assets.contracts.names import sql_name, sql_names
from pipeline_assets.errors import ConfigurationError, ContractError
from pipeline_assets.pipeline.declared_files import sql_folder
from pipeline_assets.pipeline.resolved import FileTable, MartTable
from pipeline_assets.pipeline.selects import Select
from pipeline_assets.pipeline.value import History, Mart, Pipeline

_SINGLE_ROLES = ("surrogate_key", "valid_from", "valid_to", "is_current")  # each of one column
_COPIED_ROLES = ("version", "overwrite")  # of columns with values of the observations


def resolve_history(
    value: Pipeline,
    declared: History,
    contract: Contract,
    tables: Sequence[FileTable],
    schema: Mapping[str, Sequence[str]],
) -> MartTable:
    """A history as a mart over its observations, with the rules that its rows follow.

    Raises:
        ConfigurationError: the table of the observations is missing or has no key, or their times do not order them.
        ContractError: a column is missing, or has no role or one that does not fit.
    """
    observed = _observations(value, declared, tables)
    _require_roles(contract, observed.contract)
    key = observed.contract.key
    name = f"the history {declared.name}"
    select = Select(name, _statement(contract, observed), schema)
    keys = Select(name, f"SELECT {sql_names(key, 'O')} FROM {observed.qualified} AS O", schema)
    mart = Mart(declared.name, refresh_by=key)
    return MartTable(mart, contract, select, keys, _rules(contract, observed.contract))


def refuse_unread_roles(contracts: Sequence[Contract], histories: Sequence[History]) -> None:
    """Refuse `history` in contracts that no history reads.

    Raises:
        ContractError: the message names the column.
    """
    read = {history.name for history in histories} | {history.of for history in histories}
    for contract in contracts:
        for column in contract.columns:
            if column.history and contract.name not in read:
                raise ContractError(
                    f"{contract.name}.{column.name}: history: {column.history} is not read, as {contract.name} is "
                    "neither a History nor the table that one is of.",
                    remedy=f"Declare History({contract.name!r}, of=…), or leave it out.",
                )


def _observations(value: Pipeline, declared: History, tables: Sequence[FileTable]) -> FileTable:
    observed = next((table for table in tables if table.contract.name == declared.of), None)
    if observed is None or observed.write != "append" or not observed.contract.key:
        raise ConfigurationError(
            f"{value.name}: the history {declared.name} is of {declared.of!r}, which is not a table with write mode "
            "append and a key.",
            remedy=f'Declare Table({declared.of!r}, write="append"), and mark its key with primaryKey.',
        )
    if version := observed.grain.declared.version:
        raise ConfigurationError(
            f"{value.name}: {observed.grain.name} orders versions by {version}, but the history {declared.name} by the "
            "time of the object.",
            remedy="Leave version out, or the history.",
        )
    if (sql_folder(value) / f"{declared.name}.sql").exists():
        raise ConfigurationError(
            f"sql/{value.name}/{declared.name}.sql is not read: the SELECT of a history is generated.",
            remedy="Delete the file, or declare a Mart.",
        )
    return observed


def _require_roles(contract: Contract, observed: Contract) -> None:
    for role in _SINGLE_ROLES:
        if len(names := _with_role(contract, role)) != 1:
            raise ContractError(
                f"{contract.name}: {len(names)} columns have history: {role}; a history has one.",
                remedy=f"Known: {', '.join((*_COPIED_ROLES, *_SINGLE_ROLES))}.",
            )
    if not (_with_role(contract, "version") or contract.is_open):
        raise ContractError(
            f"{contract.name}: no column has history: version, so no change would begin a new row.",
            remedy="Mark those whose changes are kept; overwrite is for the others.",
        )
    if contract.key != _with_role(contract, "surrogate_key"):
        raise ContractError(
            f"{contract.name}: the primary key is {', '.join(contract.key) or 'missing'}; a business key has several "
            "rows in a history.",
            remedy=f"Mark {', '.join(_with_role(contract, 'surrogate_key'))} with primaryKey, and no other column.",
        )
    if contract.column(*_with_role(contract, "valid_to")).required:
        raise ContractError(
            f"{contract.name}: valid_to is required, but NULL in current rows.", remedy="Remove required from it."
        )
    if missing := [name for name in observed.key if name not in contract.column_names]:
        raise ContractError(
            f"{contract.name} lacks {', '.join(missing)}, the key of {observed.name}.",
            remedy="Add it, without a history.",
        )
    for column in contract.columns:
        _require_role(contract, column, observed)
    if wrong := [column for column in observed.columns if column.history not in ("", "deleted")]:
        raise ContractError(
            f"{observed.name}.{wrong[0].name}: history: {wrong[0].history} belongs in {contract.name}; observations "
            "may have deleted.",
            remedy=f"Move it to {contract.name}.",
        )
    if len(_with_role(observed, "deleted")) > 1:
        raise ContractError(f"{observed.name}: several columns have history: deleted.", remedy="Mark one.")


def _require_role(contract: Contract, column: Column, observed: Contract) -> None:
    """Refuse a column whose role is missing, or whose value does not come from a column of the same name and type."""
    name = f"{contract.name}.{column.name}"
    is_key = column.name in observed.key
    if is_key and column.history:
        raise ContractError(
            f"{name} has history: {column.history}, but is the key of {observed.name}.",
            remedy="Leave it out: the business key needs none.",
        )
    if not is_key and column.history not in (*_COPIED_ROLES, *_SINGLE_ROLES):
        raise ContractError(
            f"{name} has {f'history: {column.history}' if column.history else 'no history'}.",
            remedy=f"Set it to one of {', '.join((*_COPIED_ROLES, *_SINGLE_ROLES))}.",
        )
    if not is_key and column.history not in _COPIED_ROLES:
        return
    if column.name not in observed.column_names:
        raise ContractError(f"{name} is not a column of {observed.name}.", remedy="Add it there, or leave it out here.")
    source = observed.column(column.name)
    if source.physical_type != column.physical_type or (column.required and not source.required):
        described = [f"{c.physical_type}{' required' if c.required else ''}" for c in (column, source)]
        raise ContractError(f"{name} is {described[0]}, but {described[1]} in {observed.name}.", remedy="Align them.")


def _statement(contract: Contract, observed: FileTable) -> str:
    """The SELECT of a history in Snowflake SQL; names with `_` cannot be those of contracts.

    Of observations of a key with one time the last counts: by uri and, at one uri, by the batch that loaded it.
    """
    key = observed.contract.key
    versions, overwritten = (_with_role(contract, role) for role in _COPIED_ROLES)
    deleted = _with_role(observed.contract, "deleted")
    of_key = f"PARTITION BY {sql_names(key)}"
    by_time = f"({of_key} ORDER BY _OBSERVED_AT)"
    # A deletion may carry the key alone, so values come from the newest other observation.
    newest = [
        f"FIRST_VALUE({c}) OVER ({of_key} ORDER BY _IS_DELETED, _OBSERVED_AT DESC) AS {c}"
        for c in map(sql_name, overwritten)
    ]
    same = "".join(f" AND EQUAL_NULL({c}, LAG({c}) OVER {by_time})" for c in map(sql_name, versions))
    compared = [*map(sql_name, (*key, *versions)), *newest]
    return f"""WITH _OBSERVATIONS AS (
    SELECT
        {_listed((*key, *versions, *overwritten), "O.", 8)},
        {f"COALESCE(O.{sql_name(deleted[0])}, FALSE)" if deleted else "FALSE"} AS _IS_DELETED,
        O._SOURCE_MODIFIED_AT AS _OBSERVED_AT
    FROM {observed.qualified} AS O
    QUALIFY ROW_NUMBER() OVER (
        PARTITION BY {sql_names((*key, "_SOURCE_MODIFIED_AT"), "O")}
        ORDER BY O._SOURCE_URI DESC, O._LOADED_AT DESC, O._SOURCE_ETAG DESC
    ) = 1
), _COMPARED AS (
    SELECT
        {_indented((*compared, "_IS_DELETED", "_OBSERVED_AT"), 8)},
        COALESCE(_IS_DELETED = LAG(_IS_DELETED) OVER {by_time}, FALSE){same} AS _IS_REPEATED
    FROM _OBSERVATIONS
), _CHANGES AS (
    SELECT
        {_listed((*key, *versions, *overwritten, "_IS_DELETED", "_OBSERVED_AT"), "", 8)},
        LEAD(_OBSERVED_AT) OVER {by_time} AS _ENDED_AT
    FROM _COMPARED
    WHERE NOT _IS_REPEATED
)
SELECT
    {_selected(contract, [observed.contract.column(name) for name in key])}
FROM _CHANGES
WHERE NOT _IS_DELETED"""


def _selected(contract: Contract, key: Sequence[Column]) -> str:
    """The columns of a history in the order of its contract."""
    computed = {
        "surrogate_key": f"MD5({_key_text(key)})",
        "valid_from": "_OBSERVED_AT",
        "valid_to": "_ENDED_AT",
        "is_current": "_ENDED_AT IS NULL",
    }
    selected = [
        f"{computed[c.history]} AS {sql_name(c.name)}" if c.history in computed else sql_name(c.name)
        for c in contract.columns
    ]
    return _indented(selected, 4)


def _key_text(key: Sequence[Column]) -> str:
    """A business key and VALID_FROM as one exact text.

    Each value has its length in front, so that ('a', 'bc') and ('ab', 'c') differ.
    """
    parts = []
    for text in map(exact_text, key):
        parts += [f"TO_VARCHAR(LENGTH({text}))", "':'", text, "'|'"]
    return " || ".join((*parts, "TO_VARCHAR(DATE_PART(EPOCH_MICROSECOND, _OBSERVED_AT))"))


def _rules(contract: Contract, observed: Contract) -> tuple[QualityRule, ...]:
    """The rules of intervals, as checks; that the rows are those of the observations is another check of every mart."""
    table, key = target_table(contract).qualified, sql_names(observed.key)
    valid_from, valid_to, is_current = (sql_names(_with_role(contract, role)) for role in _SINGLE_ROLES[1:])
    may_end = bool(_with_role(observed, "deleted"))
    return (
        QualityRule(
            "current_rows",
            f"{'At most' if may_end else 'Exactly'} one row per {key} is current.",
            f"SELECT COUNT(*) FROM (SELECT {key} FROM {table} GROUP BY {key} "
            f"HAVING COUNT_IF({is_current}) {'>' if may_end else '<>'} 1) AS WRONG",
            "mustBe",
            0,
        ),
        QualityRule(
            "disjoint_intervals",
            f"The intervals of each {key} are disjoint, and {is_current} says which has no end.",
            f"SELECT COUNT(*) FROM (SELECT {valid_from}, {valid_to}, {is_current}, "
            f"LEAD({valid_from}) OVER (PARTITION BY {key} ORDER BY {valid_from}) AS _NEXT FROM {table}) AS ROWS_OF_KEY "
            f"WHERE {valid_to} <= {valid_from} OR {is_current} <> ({valid_to} IS NULL) "
            f"OR (_NEXT IS NOT NULL AND ({valid_to} IS NULL OR {valid_to} > _NEXT))",
            "mustBe",
            0,
        ),
    )


def _with_role(contract: Contract, role: str) -> tuple[str, ...]:
    return tuple(column.name for column in contract.columns if column.history == role)


def _listed(names: Sequence[str], before: str, indent: int) -> str:
    return _indented([before + sql_name(name) for name in names], indent)


def _indented(columns: Sequence[str], indent: int) -> str:
    return f",\n{' ' * indent}".join(columns)
