"""Corrections: their log, applying them, and what the review page shows."""
