"""How this agent starts itself again: in a detached process, or in the Python of a runtime.

The same few words work from a zipapp, an installed package and a source tree. ``sys.path`` of the new process keeps
neither the place where the agent lies (site-packages of the host must not shadow those of a runtime's venv) nor the
current directory (where anything may be called numpy.py).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
from pathlib import Path
from types import MappingProxyType
from typing import Callable, List, Mapping

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


def hold_package() -> None:
    """Keep the archive that this process runs from, which it reads as long as it lives, from being thrown away."""
    root = package_root()
    if root.is_file():
        fcntl.flock(os.open(root, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)


def is_in_use(archive: Path) -> bool:
    """Say whether a process runs from an archive (see :func:`hold_package`)."""
    descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def die_with_parent(limits: Mapping[int, int] = MappingProxyType({})) -> Callable[[], None]:
    """Return a ``preexec_fn`` after which a child is killed when its parent ends, even by SIGKILL.

    libc is looked up here, before the fork: little is safe after it.

    Args:
        limits: of the child: ``resource.RLIMIT_*`` and what it is lowered to.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it ended in between
            os._exit(1)
        for name, limit in limits.items():
            soft, hard = resource.getrlimit(name)
            lowest = min([limit, *(there for there in (soft, hard) if there != resource.RLIM_INFINITY)])
            resource.setrlimit(name, (lowest, lowest))

    return arrange
