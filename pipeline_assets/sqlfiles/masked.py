"""SELECTs that people write: refuse other statements, and mask columns where a SELECT names their table.

As with a masking policy of Snowflake, the mask replaces the value before anything else: aliases, expressions, joins,
conditions and groups get the mask. What is not in the list of readable tables is refused, functions in FROM too, as
they could read files or other tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_assets.contracts.names import sql_name
from pipeline_assets.errors import ConfigurationError
from pipeline_assets.sqlfiles.transpile import parsed, statement_kind

if TYPE_CHECKING:
    from sqlglot import exp

_NAME_A_TABLE = "Name one of `tables()` with its schema, as in BOOKINGS.CUSTOMERS."
_WRITE = "`pipeline-assets query` runs any statement."


@dataclass(frozen=True)
class Readable:
    """A table or view that a person may read: the SQL of each column's value by its name, and the SELECT of a view.

    A view is replaced by its SELECT, so that the masks of the tables that it reads apply.
    """

    columns: Mapping[str, str]
    select: str = ""

    @property
    def is_masked(self) -> bool:
        return bool(self.select) or any(value != sql_name(name) for name, value in self.columns.items())


def require_select(sql: str) -> exp.Query:
    """The tree of one statement that only reads.

    Raises:
        ConfigurationError: it is not Snowflake SQL, is not one statement, or does anything else.
    """
    from sqlglot import exp

    kind = statement_kind(sql)
    refused = ConfigurationError(f"{kind} is refused: this connection only runs SELECTs.", remedy=_WRITE)
    if kind not in ("SELECT", "WITH", "FROM", "("):
        raise refused
    tree = parsed(sql)
    changing = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Drop, exp.Alter, exp.TruncateTable)
    if not isinstance(tree, exp.Query) or tree.find(*changing):
        raise refused
    for function in tree.find_all(exp.Anonymous):
        if function.name.upper().startswith("SYSTEM$"):  # some end sessions and queries of others
            raise ConfigurationError(
                f"{function.name} is refused: it may change more than rows.", remedy="Leave it out."
            )
    return tree


def masked(sql: str, database: str, readable: Mapping[str, Readable]) -> str:
    """The statement with its masks; `readable` are the tables and views of the database, as `SCHEMA.TABLE`.

    Raises:
        ConfigurationError: it does anything else than read these.
    """
    # Without comments: the end of one could be that of a comment around it.
    return _masked(require_select(sql), database, readable).sql(dialect="snowflake", comments=False)


def _masked(tree: exp.Query, database: str, readable: Mapping[str, Readable]) -> exp.Query:
    from sqlglot import exp

    _refuse_functions(tree)
    if tree.find(exp.Connect):  # the emulator repeats it for ever, and holds the warehouse
        raise ConfigurationError("CONNECT BY is refused here.", remedy="Write WITH RECURSIVE.")
    for column in tree.find_all(exp.Column):  # SCHEMA.TABLE.COLUMN: a masked table has only its alias
        column.set("db", None)
        column.set("catalog", None)
    for table in list(tree.find_all(exp.Table)):
        if _is_common_table(table):
            continue
        name = _name(table, database)
        if name not in readable:
            raise ConfigurationError(f"{name} cannot be read here.", remedy=_NAME_A_TABLE)
        if readable[name].is_masked:
            _replace(table, readable[name], database, readable)
    return tree


def _replace(table: exp.Table, read: Readable, database: str, readable: Mapping[str, Readable]) -> None:
    """Put a SELECT of visible values in the place of a table, with its alias, joins and samples."""
    from sqlglot import exp

    kept = {key: value for key, value in table.args.items() if value and key not in ("this", "db", "catalog")}
    if unknown := set(kept) - {"alias", "joins", "laterals", "pivots", "sample"}:
        raise ConfigurationError(
            f"{table.this.name} with {' and '.join(sorted(unknown))} is refused: it has masked columns.",
            remedy="Read the table as it is now.",
        )
    if read.select:
        made: exp.Expr = _masked(require_select(read.select), database, readable).subquery("MADE")
    else:
        made = exp.Table(**{key: table.args.get(key) for key in ("this", "db", "catalog")}).copy()
    values = [
        exp.alias_(parsed(f"SELECT {value}").selects[0], name, quoted=True) for name, value in read.columns.items()
    ]
    alias = kept.pop("alias", None) or exp.TableAlias(this=table.this.copy())
    table.replace(exp.Subquery(this=exp.select(*values).from_(made), alias=alias, **kept))


def _refuse_functions(tree: exp.Query) -> None:
    """Refuse relations that are neither tables nor made of the rows of the query itself."""
    from sqlglot import exp

    of_rows = (exp.Explode, exp.Generator, exp.Subquery, exp.Query)
    of_joins = (exp.Table, exp.Subquery, exp.Query, exp.Values, exp.Unnest, exp.TableFromRows, exp.Lateral)
    allowed: Any = {exp.Table: exp.Identifier, exp.TableFromRows: of_rows, exp.Lateral: of_rows}
    for node in tree.find_all(exp.From, exp.Join, *allowed):
        if not isinstance(node.this, allowed.get(type(node), of_joins)):
            raise ConfigurationError(
                f"{node.this.sql(dialect='snowflake')} is refused: FROM takes tables, FLATTEN and GENERATOR here.",
                remedy=_NAME_A_TABLE,
            )


def _name(table: exp.Table, database: str) -> str:
    """SCHEMA.TABLE, or with another database the whole name, as Snowflake reads it."""
    parts = [part.this if part.args.get("quoted") else part.this.upper() for part in table.parts]
    return ".".join(map(sql_name, parts[1:] if len(parts) == 3 and parts[0] == database else parts))


def _is_common_table(table: exp.Table) -> bool:
    """Whether WITH names a table: in a query around it, before the definition that it is in, or in it if recursive.

    Where this finds one and DuckDB does not, DuckDB reads a table of OPS, or the file of that name.
    """
    from sqlglot import exp

    node: exp.Expr | None = table if len(table.parts) == 1 else None
    definition: exp.Expr | None = None  # of the common table that the table is in
    while node is not None:
        definition = node if isinstance(node, exp.CTE) else definition
        clause: Any = node.args.get("with_") or exp.With(expressions=[])
        for common in clause.expressions:
            if common is definition and not (clause.recursive and _is_repeated(table, common)):
                break
            if _is_same_name(common.args["alias"].this, table.this):
                return True
            if common is definition:
                break
        node = node.parent
    return False


def _is_repeated(table: exp.Table, definition: Any) -> bool:
    """Whether a table is in the repeated part of a recursive definition, the last SELECT of a union of rows.

    Elsewhere in it, DuckDB does not know the name of the definition yet.
    """
    from sqlglot import exp

    union = definition.this
    if not isinstance(union, exp.Union) or union.args.get("by_name"):
        return False
    node: exp.Expr | None = table
    while node is not None and node is not union.expression:
        node = node.parent
    return node is not None


def _is_same_name(one: exp.Expr, other: exp.Expr) -> bool:
    """Whether two identifiers name the same table in DuckDB: it ignores the case of ASCII, also between quotes.

    Snowflake writes other letters in upper case too, but not between quotes.
    """
    names = [each.name for each in (one, other)]
    if not all(map(str.isascii, names)) and bool(one.args.get("quoted")) != bool(other.args.get("quoted")):
        return False
    first, second = (name.encode("utf-8", "surrogatepass").lower() for name in names)  # of bytes: ASCII alone
    return first == second
