"""Benchmarks: our pipelines beside the tools that one would otherwise use, in one run on one machine.

    python -m pipeline_assets_tests.benchmarks [names…] [--quick] [--output docs/benchmarks.md]

`harness` measures, `worker` is the fresh process that each measurement gets, `report` writes. A benchmark is data: a
sibling module with a function per contender and one `BENCHMARK` that lists them; what contenders of several have in
common is in `parts`. To add one, copy the shape of `startup` (small), `bookings` (shared input files) or `orders` (and
smaller ones for `--quick`) and enter it in `__main__.BENCHMARKS`.

What stays out: assertions about time. A test that fails on a busy machine teaches people to ignore tests; here a missed
bar is a "no" in the table.
"""
