"""The crash tests of `movies`; a file of their own, so that pipelines crash side by side."""

from pipeline_assets_tests.support.crashes import *  # noqa: F403 - the tests and their fixtures

PIPELINE = "movies"
