"""Nested JSON orders: `incoming/` to a Parquet lake table and the ORDERS tables.

`pipeline` says what one batch does, `assets` shows it to Dagster, `checks` what must hold, `automation` when it runs.
"""
