"""Streamed customers and orders; so far only their bucket and delivery streams."""
