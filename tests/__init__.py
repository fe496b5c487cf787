"""Tests of fightpose; they mirror the tree of flows/ and tasks/."""
