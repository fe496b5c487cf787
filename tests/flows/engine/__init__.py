"""Tests of `flows.runs`."""
