"""Runs of single clips and of shards reach the merged data set, with one merge for many of them.

Problem: a clip that is retried in the UI changes its annotation after the run over its folder has merged. Solution: it
leaves a mark and merges under the folder's lock. Who finds the lock held leaves at once: the holder looks for the mark
when it is done, so that fifty clips that end together cost a merge or two. A run over a folder holds the lock to its
end and merges then.
"""

from __future__ import annotations

import logging
from pathlib import Path

from tasks.core.errors import FightposeError
from tasks.core.storage import WORK_FOLDER
from tasks.mapping.merged import DATASET_NAME, merge_outputs
from tasks.mapping.receipts import recorded_settings
from tasks.mapping.run_lock import FolderHeldError, sole_run
from tasks.review.log import standing_exclusions

logger = logging.getLogger(__name__)

MARK_NAME = "merge-wanted"
"""The mark, below the work folder."""


def merge_soon(output_root: Path) -> None:
    """Have the merged data set brought up to date after a clip has changed; nothing where there is none yet."""
    if (output_root / DATASET_NAME).is_file():
        # The mark before the lock is tried: a holder that is just ending finds it.
        mark_of(output_root).touch()
        merge_if_wanted(output_root)


def merge_if_wanted(output_root: Path) -> None:
    """Merge as long as a mark says so, unless another run holds the folder, which does so itself.

    To be called right after the folder's lock was released.
    """
    mark = mark_of(output_root)
    # Again after the lock is free: a mark that was left meanwhile is nobody else's.
    while mark.exists():
        try:
            with sole_run(output_root, patience=0.0):
                # Before the merge: what changes while it reads leaves a new mark.
                mark.unlink(missing_ok=True)
                # Those of the last run over the folder: a single clip has no say in how clips are split.
                splitting = recorded_settings(output_root).dataset
                merge_outputs(output_root, splitting, standing_exclusions(output_root))
        except FolderHeldError:
            return
        except FightposeError as error:
            # The clip itself is done: what keeps its folder from being merged is the next run's to report.
            logger.warning("the merged data set is not up to date (%s)", error)
            return


def mark_of(output_root: Path) -> Path:
    """Return the path of the mark."""
    return output_root / WORK_FOLDER / MARK_NAME
