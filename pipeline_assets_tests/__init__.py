"""Tests; folders mirror pipeline_assets/, plus scenarios/, faults/ and benchmarks/."""
