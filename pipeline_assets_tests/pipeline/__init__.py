"""Tests of what follows from a pipeline's value, and of its batches, on small pipelines made for the purpose."""
