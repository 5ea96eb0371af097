"""Tests in tiers.

`unit/` is the inner loop (no server, no Java, nothing killed), `integration/` has a room with its real neighbours; both
mirror `pipeline_assets/`. `end_to_end/` runs whole installations, `faults/` kills and disturbs them.
"""
