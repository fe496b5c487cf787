"""Annotations from and to the layouts of other programs.

`layouts` reads the earlier scripts' and pyskl's files and writes them; `windows` cuts long clips; `tables` exports rows
(CSV, Parquet, MOT), `coco` and `cvat` what reviewers load.
"""
