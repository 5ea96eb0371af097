"""The harness itself, on contenders that take no time."""

from __future__ import annotations

import mmap
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from . import harness
from .harness import Bar, Benchmark, Contender, Measurement, Result, compare, measure, run_once
from .report import merged, section, without_paths
from .worker import _peak_bytes


def quick(inputs: Path, folder: Path) -> int:
    return 3


def copies_input(inputs: Path, folder: Path) -> None:
    (folder / "out" / "copy.csv").write_text((inputs / "three.csv").read_text())


def takes_much_to_count(inputs: Path, folder: Path) -> int:
    return len(bytearray(b"x") * 120_000_000)


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


@contextmanager
def slow_to_open(folder: Path):
    time.sleep(0.5)
    yield 3
    (folder / "closed").touch()


def takes_what_is_open(inputs: Path, folder: Path, opened: int, more: int) -> int:
    return opened + more


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
    monkeypatch.setattr(harness, "_TOUCHED", mmap.PAGESIZE)


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


def peak(name: str, megabytes: int, bar: Bar | None = None, foreign: float = 0.0) -> Result:
    return Result(Contender(name, quick, bar=bar), [Measurement(1.0, peak=megabytes * 1_000_000, foreign=foreign)])


@pytest.mark.parametrize(
    ("megabytes", "growth", "met"), [(600, None, True), (601, None, False), (550, 1.1, True), (551, 1.1, False)]
)
def test_memory_has_a_limit_and_may_have_to_be_flat(megabytes, growth, met):
    large = peak("large", megabytes, Bar("peak", 600, growth), foreign=0.9)
    compared = compare([peak("ours", 500), large])[1]
    assert (compared.measured, compared.met, compared.disturbed) == (megabytes, met, False)


def test_a_limit_of_memory_is_judged_without_ours_unless_it_has_to_be_flat():
    failed = result("ours", failure="gone")
    assert compare([failed, peak("large", 600, Bar("peak", 600))])[1].met is True
    assert compare([failed, peak("large", 600, Bar("peak", 600, 1.1))])[1].met is None


def test_ratios_may_refer_to_another_contender_and_bars_still_compare_with_ours():
    plain = result("plain", 2.0, bar=Bar("at_most", 1.25))
    found = compare([result("ours", 4.0), plain, result("slow", 6.0, bar=Bar("faster", 1))], "plain")
    assert [(c.ratio, c.measured) for c in found] == [(2.0, None), (1.0, 2.0), (3.0, 1.5)]


def test_a_named_table_stands_below_the_first_with_ratios_of_its_own():
    results = [result("ours", 4.0), result("plain", 2.0), result("small", 1.0), result("large", 3.0)]
    for found in results[2:]:
        found.contender = replace(found.contender, table="Memory")
    written = section(replace(benchmark(), ratio_to="plain"), results, "Today.")
    above, _, below = written.partition("**Memory**")
    assert "ratio to plain" in above
    assert "2.00x" in above
    assert "ratio to first line" in below
    assert "3.00x" in below


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


def test_a_contender_measured_once_has_no_part_in_the_warm_up_and_later_rounds():
    results = measure(benchmark(Contender("A", quick), Contender("B", quick, once=True)), say=lambda line: None)
    assert [len(found.runs) for found in results] == [2, 1]


def test_a_benchmark_may_have_a_small_one_for_when_time_is_short():
    small = benchmark(Contender("A", quick))
    assert replace(small, small=small).sized(quick=True) is small
    assert replace(small, small=small).sized(quick=False) is not small
    assert small.sized(quick=True) is small


def test_opening_is_not_on_the_clock_and_is_undone(tmp_path):
    contender = Contender("ours", takes_what_is_open, opens=slow_to_open, arguments={"more": 4}, expected_rows=7)
    run = run_once(contender, tmp_path, tmp_path / "round")
    assert run.failure is None
    assert run.seconds < 0.4
    assert run.imports > 0.4
    assert (tmp_path / "round" / "closed").exists()


def test_preparing_is_not_on_the_clock(tmp_path):
    run = run_once(Contender("ours", quick, prepare=slow_to_prepare), tmp_path, tmp_path / "round")
    assert run.failure is None
    assert run.seconds < 0.4


def test_free_memory_is_touched_before_a_measurement_and_is_not_the_contenders(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "_TOUCHED", 200_000_000)
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory so far is the current one
    before = _peak_bytes()
    run = run_once(Contender("ours", quick), tmp_path, tmp_path / "round")
    assert _peak_bytes() - before > 150_000_000
    assert run.peak < 150_000_000


def test_memory_of_child_processes_counts(tmp_path):
    run = run_once(Contender("ours", works_in_a_child), tmp_path, tmp_path / "round")
    assert run.peak > 120_000_000


def test_memory_of_counting_the_rows_does_not_count(tmp_path):
    run = run_once(Contender("ours", quick, rows_of=takes_much_to_count), tmp_path, tmp_path / "round")
    assert run.rows == 120_000_000
    assert run.peak < 120_000_000


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
