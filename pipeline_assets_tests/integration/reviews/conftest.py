"""A database of a private MariaDB for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline_assets_tests.support.mariadb import Database, mariadb_database
from pipeline_assets_tests.support.servers import requires_server


@pytest.fixture
def database() -> Iterator[Database]:
    """An empty database, utf8mb4 by default."""
    requires_server("mariadb")
    with mariadb_database() as made:
        yield made
