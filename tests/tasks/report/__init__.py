"""Tests of `tasks.report.write`."""
