"""The tracking benchmark: `python -m tests.benchmarks.tracking --help`."""
