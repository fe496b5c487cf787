"""Tests of `tasks.core.settings`."""
