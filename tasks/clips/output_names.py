"""The names of a clip's outputs: the stem that each clip of a folder gets, and the postfixes of its files.

A stem that occurs once in its folder is used as it is. Where several clips share a stem
(compared without case and under Unicode NFC, because file systems may do so too), each takes its whole file name as
its stem: `a.mp4` and `a.avi` give `a.mp4_enhanced_...` and `a.avi_enhanced_...`. Where even that is taken, `~2`, `~3`
follow in sorted order. A stem too long for the file system is cut and ends in `~` and eight digits of its hash.
The trap in this rule: when `a.avi` joins an `a.mp4` that is already annotated, the earlier outputs of `a.mp4` carry a
name that no clip has any more, and the mapping check reports them as orphans.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from tasks.core.storage import PARTIAL_MARK
from tasks.core.text import name_key

ANNOTATION_POSTFIX = "_enhanced_stgcn_annotation"
OVERLAY_POSTFIX = "_enhanced_rtmo_overlay"
EARLIER_ANNOTATION_POSTFIX = "_rtmo_bytetrack_pose"
EARLIER_OVERLAY_POSTFIX = "_rtmo_bytetrack_overlay"

ANNOTATION_POSTFIXES = (ANNOTATION_POSTFIX, EARLIER_ANNOTATION_POSTFIX)
OVERLAY_POSTFIXES = (OVERLAY_POSTFIX, EARLIER_OVERLAY_POSTFIX)

# 255 bytes is the limit of nearly every file system; Korean takes three bytes a character in UTF-8.
_MAX_STEM_BYTES = 255 - len(f"{ANNOTATION_POSTFIX}.pkl")


def is_own_output(name: str) -> bool:
    """Tell whether a file name is that of an overlay or of an unfinished file of this program."""
    return PARTIAL_MARK in name or name_key(PurePosixPath(name).stem).endswith(OVERLAY_POSTFIXES)


def output_stems(names: Iterable[str]) -> dict[str, str]:
    """Return the output stem of each clip of one folder.

    Parameters
    ----------
    names
        File names of all clips of the folder: the rule depends on the neighbours.

    Returns
    -------
    dict
        File name to stem; no two stems are the same, not even without case or under another Unicode form.
    """
    ordered = sorted(set(names))
    shares = Counter(name_key(PurePosixPath(name).stem) for name in ordered)
    stems: dict[str, str] = {}
    taken: set[str] = set()
    # Stems that occur once come first, so that `a.avi.mp4` keeps its stem `a.avi` where `a.avi` shares its own.
    for name in sorted(ordered, key=lambda name: (shares[name_key(PurePosixPath(name).stem)] > 1, name)):
        stem = PurePosixPath(name).stem
        wish = _short_enough(stem if shares[name_key(stem)] == 1 else name)
        candidate, number = wish, 1
        while name_key(candidate) in taken:
            number += 1
            candidate = f"{wish}~{number}"
        taken.add(name_key(candidate))
        stems[name] = candidate
    return stems


def _short_enough(stem: str) -> str:
    """Cut a stem that leaves no room for the postfix within a file name's limit."""
    raw = os.fsencode(stem)
    # Room is left for `~` and a number as well, which two clips of one stem may need.
    if len(raw) <= _MAX_STEM_BYTES - 5:
        return stem
    mark = f"~{hashlib.sha256(raw).hexdigest()[:8]}"
    return raw[: _MAX_STEM_BYTES - 5 - len(mark)].decode("utf-8", "ignore") + mark
