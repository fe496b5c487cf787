"""Tests of `tasks.poses.imports`."""
