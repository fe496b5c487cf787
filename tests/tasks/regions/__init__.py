"""Tests of `tasks.regions.scores`."""
