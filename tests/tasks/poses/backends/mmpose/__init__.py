"""Tests of models in mmpose's form."""
