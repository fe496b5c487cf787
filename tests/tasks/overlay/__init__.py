"""Tests of `tasks.overlay.painter`."""
