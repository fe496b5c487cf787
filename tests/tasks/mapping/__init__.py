"""Tests of `tasks.mapping.verify`."""
