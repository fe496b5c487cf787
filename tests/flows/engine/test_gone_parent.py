"""A parent that was killed while its helper still loaded its modules: the helper ends all the same.

Asked for its parent after those seconds, the system names init, which never ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from multiprocessing import Pipe

import pytest

from flows.prefect_server.access import for_server, new_secret
from flows.prefect_server.serve import COMMAND

PATIENCE_SECONDS = 300
"""A quarter of a second on an idle machine, after the imports."""

WORKER = "from flows.engine.worker_process import main; main()"
DECODER = "from tasks.video.decoder_process import main; main()"


@pytest.fixture
def gone() -> int:
    """Give the ID of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("helper", ["worker", "decoder", "server"])
def test_a_helper_whose_parent_is_gone_before_it_asks_ends(gone, helper):
    """Its socket stays open here, so that nothing but the missing parent ends it."""
    ours, theirs = Pipe()
    with ours, theirs:
        descriptor = theirs.fileno()
        commands = {
            "worker": [sys.executable, "-c", WORKER, str(gone), str(descriptor), "builtins:len"],
            # The second descriptor is that of the frames, which no request asks for here.
            "decoder": [sys.executable, "-c", DECODER, str(descriptor), str(descriptor), str(gone)],
            "server": [*COMMAND, "--temporary", "--parent", str(gone)],
        }
        process = subprocess.Popen(
            commands[helper],
            pass_fds=(descriptor,),
            env={**os.environ, **for_server(new_secret())},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            # By its own `_exit`, or as a server that was asked to end.
            assert process.wait(PATIENCE_SECONDS) in (0, 1)
        finally:
            process.kill()
            process.wait()
