"""An archive is whole or absent, whenever its process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline_assets.lake.archives import ArchiveLimits, pack, unpack

_PACK = """
import sys
from pathlib import Path
from pipeline_assets.lake.archives import pack
pack([("zeros.csv", Path(sys.argv[1]))], Path(sys.argv[2]))
"""


def test_a_killed_process_leaves_no_archive_and_the_next_one_packs_it(tmp_path: Path) -> None:
    source, target = tmp_path / "zeros.csv", tmp_path / "landing" / "movies.zip"
    target.parent.mkdir()
    with open(source, "wb") as file:
        file.truncate(20 * 2**30)  # sparse, and longer to read than the test waits
    process = subprocess.Popen([sys.executable, "-c", _PACK, source, target])
    try:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size > 100_000 for path in target.parent.iterdir()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not target.exists()

    os.truncate(source, 2**20)
    pack([("zeros.csv", source)], target)

    (member,) = unpack(target, tmp_path / "members", ArchiveLimits(entries=1, bytes=2**20, ratio=2000))
    assert member.path.read_bytes() == bytes(2**20)
