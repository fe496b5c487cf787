"""Tests of `flows.cli.main`."""
