"""The steps of the pipeline, one room per step, in the order in which the data walks.

Pure functions on plain records (`tasks.records`); nothing here imports Prefect. The thin Prefect tasks around them are in
`flows.steps`.
"""
