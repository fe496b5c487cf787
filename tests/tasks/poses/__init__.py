"""Tests of the poses room."""
