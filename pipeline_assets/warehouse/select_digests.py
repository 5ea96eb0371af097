"""Digests of the SELECTs that marts and views were made from, in OPS.MARTS: a changed SELECT makes them again."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline_assets.warehouse.schema import ops_sql
from pipeline_assets.warehouse.transaction import Transaction


def changed_selects(transaction: Transaction, digests: Mapping[str, str]) -> list[str]:
    """The names of tables and views whose digest is not the stored one, in the order given."""
    stored = dict(transaction.rows(ops_sql("mart_digests")))
    return [name for name, digest in digests.items() if stored.get(name) != digest]


def store_digest(transaction: Transaction, name: str, digest: str) -> None:
    """Store the digest of the SELECT that a table or view is made from."""
    transaction.execute(ops_sql("delete_mart_digest"), {"table_name": name})
    transaction.execute(ops_sql("insert_mart_digest"), {"table_name": name, "digest": digest})
