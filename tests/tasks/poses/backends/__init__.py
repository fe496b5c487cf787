"""Tests of `tasks.poses.backends`."""
