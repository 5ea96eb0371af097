"""`pipeline-assets doctor`: check what an installation needs and report what is missing."""
