"""Run by `test_spark_cluster` in a process of its own, as a process has one Spark: compare a cluster with DuckDB.

python -m pipeline_assets_tests.support.cluster_sessions spark://127.0.0.1:7077 <folder>
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipeline_assets.engine import RejectPolicy, Session
from pipeline_assets.engine.spark.engine import SparkEngine
from pipeline_assets.engine.spark.session import spark_session
from pipeline_assets_tests.integration.engine.test_glue_engine import content
from pipeline_assets_tests.integration.engine.test_spark_agrees import compared, looked_at
from pipeline_assets_tests.integration.engine.test_versions import HEADER
from pipeline_assets_tests.support.engine_session import NEVER, PEOPLE, VISITS, landed


def main(master: str, folder: Path) -> None:
    """Compare, and print who did the work."""
    people = [landed(folder / f"p{n}", f"{HEADER}\n1,Ada {n},\n2,Bob\n{n + 3},New,\n", days=n) for n in range(6)]
    visits = [landed(folder / "large", content(3000)), landed(folder / "small", content(20), days=1)]

    def work(session: Session, place: Path) -> dict[str, Any]:
        session.read("people", PEOPLE, people)
        session.read("visits", VISITS, visits)
        session.deduplicate("people")
        session.deduplicate("visits")
        joined = "SELECT v.ID, p.NAME FROM visits AS v INNER JOIN people AS p ON v.PERSON_ID = p.ID"
        selects = {"people": "SELECT * FROM people", "visits": "SELECT * FROM visits", "joined": joined}
        return looked_at(session, ["people", "visits"], selects, place)

    policy: RejectPolicy = NEVER
    engine = SparkEngine(master=master, memory_limit="1GB", split_bytes=16_000)
    found = compared(work, spark=engine, policy=policy)
    context = spark_session(master).sparkContext
    workers = context.parallelize(range(8), 8).mapPartitions(lambda _: [_parent()]).distinct().collect()
    print(json.dumps({"joined": len(found["joined"]), "bad": len(found["visits: bad"]), "executors": len(workers)}))


def _parent() -> int:
    """The executor that a task's Python belongs to."""
    import os

    with open(f"/proc/{os.getppid()}/stat", encoding="ascii") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
