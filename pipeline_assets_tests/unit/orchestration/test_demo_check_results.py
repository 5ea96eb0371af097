"""The demo's findings: what its samples contain on purpose stands apart from what nobody expects."""

from __future__ import annotations

import pytest

from pipeline_assets.console import print_sample_findings


def check(name: str, severity: str, passed: bool = False) -> dict[str, object]:
    return {
        "asset": "bookings/customers",
        "name": name,
        "severity": severity,
        "passed": passed,
        "description": "Two\nlines.",
    }


def test_what_the_samples_contain_on_purpose_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    print_sample_findings([check("rejected_objects", "ERROR"), check("totals_match_lines", "WARN")], {})
    out = capsys.readouterr().out
    assert "0 passed, 2 found what the samples contain on purpose, 0 found something else" in out
    assert "ERROR" not in out


def test_anything_else_is_shown_as_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_sample_findings([check("unique_key", "ERROR"), check("reconciles", "ERROR", passed=True)], {})
    out = capsys.readouterr().out
    assert "1 passed, 0 found what the samples contain on purpose, 1 found something else" in out
    assert "ERROR: unique_key on bookings/customers: Two lines." in out


def test_what_is_found_in_other_files_than_samples_is_shown_as_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    own = {("bookings/customers", "rejected_objects"): "lake://b/mine.csv: missing_column"}
    print_sample_findings([check("rejected_objects", "ERROR"), check("quarantine", "WARN")], own)
    out = capsys.readouterr().out
    assert "1 found what the samples contain on purpose, 1 found something else" in out
    assert "ERROR: rejected_objects on bookings/customers: lake://b/mine.csv: missing_column" in out
