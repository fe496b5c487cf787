"""Ending with the parent: no process outlives the one that started it, also where that one is killed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

PARENT_SECONDS = 0.25
"""How often a process looks whether its parent lives; it has to end within 2 s of a parent that was killed."""


def end_with_parent(parent: int, end: Callable[[], object] = lambda: os._exit(1)) -> None:
    """Start a thread that ends this process soon after its parent, even where native code hangs.

    Parameters
    ----------
    parent
        ID of the parent, as the parent itself handed it over: asked for later, the system names another process for a
        parent that was killed meanwhile.
    end
        Ends the process. By default at once and whatever it does: not `sys.exit`, which would end the thread alone.
    """

    def watch() -> None:
        """Wait for the end of the parent; native code runs without the interpreter lock."""
        # Not PR_SET_PDEATHSIG: that fires when the parent's thread ends that started this process.
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        end()

    threading.Thread(target=watch, name="parent", daemon=True).start()
