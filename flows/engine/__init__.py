"""Clips through overlapping stages, without Prefect: what single runs, parallel runs and shards have in common."""
