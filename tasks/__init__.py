"""The steps of the pipeline, one room per step, in the order in which the data walks.

Pure functions on plain records (`tasks.core.records`). Only `tasks.steps` imports Prefect: it wraps each step as a thin
task.
"""
