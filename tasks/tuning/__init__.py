"""Choosing the settings of tracking, selection and ranking from reviewed clips, on stored poses.

`reviewed` says who is who in the clips that people have reviewed, `measure` how well given settings find those people,
`choose` which settings to take, judged on cameras that had no part in the choice, and `page` shows it.
"""
