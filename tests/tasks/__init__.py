"""Tests of the rooms in tasks/."""
