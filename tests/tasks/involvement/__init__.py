"""Tests of `tasks.involvement`."""
