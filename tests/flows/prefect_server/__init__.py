"""Tests of `flows.prefect_server`."""
