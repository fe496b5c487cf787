"""Tests of `tasks.review`."""
