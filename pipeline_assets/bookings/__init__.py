"""Customer bookings joined with customers: `raw-data/` to `processed-data/` and the BOOKINGS tables.

`pipeline` says what one batch does, `assets` shows it to Dagster, `checks` what must hold, `automation` when it runs.
"""
