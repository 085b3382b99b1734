"""How this agent starts itself again: in a detached process, or in the Python of a runtime.

The same few words work from a zipapp, an installed package and a source tree. ``sys.path`` of the new process keeps
neither the place where the agent lies (site-packages of the host must not shadow those of a runtime's venv) nor the
current directory (where anything may be called numpy.py).
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import Callable, List

import edgepress_agent

_START = (
    "import sys, time; started = time.monotonic_ns(); sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]; "
    "import edgepress_agent; del sys.path[0]; "
    "from edgepress_agent.__main__ import main; sys.exit(main(sys.argv[1:], started))"
)
_PR_SET_PDEATHSIG = 1


def package_root() -> Path:
    """Return what must be on ``sys.path`` for ``import edgepress_agent``: a folder, or the zipapp's file.

    Links are resolved: a job goes on with the agent it began with when ``current.pyz`` moves on.
    """
    return Path(edgepress_agent.__path__[0]).parent.resolve()


def command(python: str, *arguments: str) -> List[str]:
    """Return the argv that runs this agent's ``arguments`` under another Python."""
    return [python, "-c", _START, str(package_root()), *arguments]


def die_with_parent() -> Callable[[], None]:
    """Return a ``preexec_fn`` after which a child is killed when its parent ends, even by SIGKILL.

    libc is looked up here, before the fork: little is safe after it.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it ended in between
            os._exit(1)

    return arrange
