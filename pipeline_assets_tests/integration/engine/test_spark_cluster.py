"""A real cluster: master and workers are processes, the large file is read in parts by both workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline_assets_tests.support.spark_cluster import spark_cluster


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cluster_comes_to_what_duckdb_comes_to(tmp_path: Path) -> None:
    with spark_cluster(tmp_path, workers=2, cores=1) as master:
        # A cluster's own settings stay what its administrator made them; here, few partitions for few rows.
        (tmp_path / "spark-defaults.conf").write_text("spark.sql.shuffle.partitions 4\nspark.ui.enabled false\n")
        words = [sys.executable, "-m", "pipeline_assets_tests.support.cluster_sessions", master, str(tmp_path)]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            env={**os.environ, "SPARK_CONF_DIR": str(tmp_path)},
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["executors"] == 2
    assert found["joined"] > 2500
    assert found["bad"] > 100
