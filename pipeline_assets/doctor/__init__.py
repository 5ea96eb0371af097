"""`pipeline-assets doctor`: try what an installation needs and say what is missing."""
