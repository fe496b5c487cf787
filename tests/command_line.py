"""The command line as a user calls it: a process of its own that has imported nothing before."""

from __future__ import annotations

import os
import subprocess
import sys

COMMAND_LINE = [sys.executable, "-c", "from flows.cli.main import main; main()"]


def run_alone(*arguments: object, **environment: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever comes of it.

    Parameters
    ----------
    arguments
        What is typed after `fightpose`.
    environment
        Variables to set; those that are None are taken away.
    """
    variables = {name: str(value) for name, value in {**os.environ, **environment}.items() if value is not None}
    command = [*COMMAND_LINE, *map(str, arguments)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
