"""Tests of `tasks.annotations`."""
