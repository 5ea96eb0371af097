"""Column lineage, read from the SQL itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def column_sources(
    sql: str, columns: Sequence[str], schema: Mapping[str, Sequence[str]]
) -> dict[str, list[tuple[str, str]]]:
    """For each output column the (table, column) pairs that it is made of.

    Args:
        sql: one SELECT in Snowflake's dialect.
        columns: the output columns to trace, upper case.
        schema: table name as the statement names it (all with a schema, or none) to its columns.

    Returns:
        Column to sorted pairs; a constant column has none. Names come back as `schema` spells them.
    """
    from sqlglot import exp
    from sqlglot.lineage import lineage

    nested: dict[str, dict] = {}
    for table, names in schema.items():
        level = nested
        *parents, name = table.split(".")
        for parent in parents:
            level = level.setdefault(parent.upper(), {})
        level[name.upper()] = dict.fromkeys(names, "TEXT")

    spelled = {table.upper(): table for table in schema}
    found: dict[str, list[tuple[str, str]]] = {}
    for column in columns:
        sources = set()
        for node in lineage(column, sql, schema=nested, dialect="snowflake").walk():
            if isinstance(node.expression, exp.Table):
                parts = [part.name.upper() for part in node.expression.parts]
                table = spelled.get(".".join(parts))
                if table:
                    sources.add((table, node.name.rpartition(".")[2].upper()))
        found[column] = sorted(sources)
    return found
