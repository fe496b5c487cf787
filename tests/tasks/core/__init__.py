"""Tests of `tasks.core`."""
