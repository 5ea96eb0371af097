"""Mutation testing: put one small fault at a time into the code that decides about data, and see whether a test fails.

`make mutate` draws a sample of faults with a seed. Faults in Python are made by Cosmic Ray's operators and a few of our
own (`python_faults`), faults in sql/ by rewriting the parsed statement (`sql_faults`). Each is tried in a copy of the
checkout, against the tests nearest to it first (`running`). Which code takes part, and what is left out and why, is in
`targets`; faults that no test needs to catch are argued one by one in `survivors.toml`.
"""
