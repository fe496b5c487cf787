"""Benchmarks: figures of quality and speed, run by hand with `python -m`; never part of the test run."""
