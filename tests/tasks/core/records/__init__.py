"""Tests of the records and of their columns on disk."""
