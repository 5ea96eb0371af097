"""The harness itself, on contenders that take no time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from . import harness
from .harness import Bar, Benchmark, Contender, Measurement, Result, compare, measure, run_once
from .report import merged, section, without_paths


def quick(inputs: Path, folder: Path) -> int:
    return 3


def copies_input(inputs: Path, folder: Path) -> None:
    (folder / "out" / "copy.csv").write_text((inputs / "three.csv").read_text())


def lines(inputs: Path, folder: Path) -> int:
    return len((folder / "out" / "copy.csv").read_text().splitlines())


def makes_input(inputs: Path, folder: Path) -> None:
    (inputs / "three.csv").write_text("1\n2\n3\n")


def broken(inputs: Path, folder: Path) -> None:
    raise OSError(f"no Java below {folder}/jdk/bin")


def killed(inputs: Path, folder: Path) -> None:
    print("about to die", flush=True)
    os.abort()


def first(inputs: Path, folder: Path) -> None:
    (folder / "state").write_text("left by the first")


def goes_on(inputs: Path, folder: Path) -> int:
    return len((folder / "state").read_text())


def slow_to_prepare(inputs: Path, folder: Path) -> None:
    time.sleep(0.5)


def works_in_a_child(inputs: Path, folder: Path) -> None:
    code = "import time; held = bytearray(b'x') * 120_000_000; time.sleep(0.3)"
    subprocess.run([sys.executable, "-c", code], check=True)


def counts_in_a_child(inputs: Path, folder: Path) -> None:
    code = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def benchmark(*contenders: Contender, **more: object) -> Benchmark:
    return Benchmark("fake", "Fake", "For tests.", contenders, rounds=2, quick_rounds=1, **more)  # type: ignore[arg-type]


def result(name: str, *seconds: float, bar: Bar | None = None, failure: str | None = None) -> Result:
    return Result(Contender(name, quick, bar=bar), [Measurement(second, peak=1) for second in seconds], failure)


def test_ratios_and_bars_are_computed_from_medians():
    ours = result("ours", 2.0, 9.0, 1.0)
    plain = result("plain", 1.0, 1.0, 8.0, bar=Bar("at_most", 1.25))
    slow = result("slow", 9.0, 9.0, 9.0, bar=Bar("faster", 4))
    alone = result("alone", 5.0, bar=Bar("seconds", 6))
    found = [(c.ratio, c.measured, c.met) for c in compare([ours, plain, slow, alone])]
    assert found == [(1, None, None), (0.5, 2.0, False), (4.5, 4.5, True), (None, 5.0, True)]


def test_nothing_is_met_when_ours_or_the_contender_failed():
    plain = result("plain", 1.0, bar=Bar("at_most", 1.25))
    assert compare([result("ours", failure="gone"), plain])[1].met is None
    assert compare([result("ours", 1.0), replace(plain, failure="gone")])[1].met is None


def test_rounds_are_interleaved_and_the_warm_up_is_thrown_away():
    said: list[str] = []
    results = measure(benchmark(Contender("A", quick), Contender("B", quick)), say=said.append)
    assert [re.sub(r"\s+", " ", line.strip()).rpartition(" s ")[0][:11] for line in said[2:]] == [
        "round 1/2 A",
        "round 1/2 B",
        "round 2/2 A",
        "round 2/2 B",
    ]
    assert [len(found.runs) for found in results] == [2, 2]
    assert all(run.rows == 3 for found in results for run in found.runs)


def test_a_failing_contender_is_reported_with_its_reason_and_without_paths():
    measured = benchmark(Contender("ours", quick), Contender("other", broken, bar=Bar("faster", 4)))
    results = measure(measured, quick=True, say=lambda line: None)
    written = section(measured, results, "Measured today.")
    assert results[1].failure is not None
    assert "| other | failed |" in written
    assert "not measured" in written
    assert "- **other** failed: OSError: no Java below …/bin" in written
    assert str(harness._cache()) not in written


def test_a_killed_process_is_a_failure_that_shows_its_last_words(tmp_path):
    run = run_once(Contender("other", killed), tmp_path, tmp_path / "round")
    assert run.failure is not None
    assert run.failure.startswith("the process ended with -6:")


def test_a_contender_that_loses_rows_has_failed(tmp_path):
    run = run_once(Contender("other", quick, expected_rows=4), tmp_path, tmp_path / "round")
    assert run.failure == "3 rows instead of 4"


def test_inputs_are_made_once_and_results_do_not_outlive_their_run(tmp_path):
    measured = benchmark(
        Contender("ours", copies_input, rows_of=lines, expected_rows=3),
        make_inputs=makes_input,
        inputs_from=(Path(__file__),),
    )
    results = measure(measured, quick=True, say=lambda line: None)
    (inputs,) = harness._cache().iterdir()
    made = (inputs / "three.csv").stat().st_mtime_ns
    measure(measured, quick=True, say=lambda line: None)
    assert results[0].failure is None
    assert (inputs / "three.csv").stat().st_mtime_ns == made
    assert list(tmp_path.rglob("copy.csv")) == []


def test_a_contender_may_go_on_from_an_earlier_one_of_its_round():
    results = measure(benchmark(Contender("A", first), Contender("B", goes_on)), quick=True, say=lambda line: None)
    assert [found.failure for found in results] == [None, None]


def test_preparing_is_not_on_the_clock(tmp_path):
    run = run_once(Contender("ours", quick, prepare=slow_to_prepare), tmp_path, tmp_path / "round")
    assert run.failure is None
    assert run.seconds < 0.4


def test_memory_of_child_processes_counts(tmp_path):
    run = run_once(Contender("ours", works_in_a_child), tmp_path, tmp_path / "round")
    assert run.peak > 120_000_000


@pytest.mark.parametrize(("share", "verdict"), [(0.4, "| yes (disturbed) |"), (0.02, "| yes |")])
def test_a_verdict_reached_on_a_busy_machine_says_so(share, verdict):
    ours = Result(Contender("ours", quick), [Measurement(1.0, foreign=share)])
    plain = Result(Contender("plain", quick, bar=Bar("at_most", 1.25)), [Measurement(1.0)])
    assert verdict in section(benchmark(), [ours, plain], "Today.")


def test_processor_time_of_child_processes_counts(tmp_path):
    run = run_once(Contender("ours", counts_in_a_child), tmp_path, tmp_path / "round")
    assert run.cpu > 0.3


def test_a_section_measured_again_replaces_itself_only():
    one, two = "## One\n\nold\n", "## Two\n\nkept\n"
    again = merged(merged("", [one, two]), ["## One\n\nnew\n"])
    assert "old" not in again
    assert again.index("new") < again.index("kept")
    assert again == merged(again, [])


def test_paths_are_cut_to_their_last_part_and_addresses_are_left_alone():
    assert without_paths("no '/tmp/a/b.csv' of /x/y\nmore") == "no '…/b.csv' of …/y"
    assert without_paths("see https://example.org/a/b") == "see https://example.org/a/b"
