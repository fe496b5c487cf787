"""Tests of `tasks.tracking`."""
