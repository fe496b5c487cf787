"""Tests of `flows.review`."""
