"""Tests of `tasks.video.reading`."""
