"""Flows that put the steps of `tasks` in order, and the command line that starts them."""
