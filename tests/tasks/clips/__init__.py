"""Tests of `tasks.clips`."""
