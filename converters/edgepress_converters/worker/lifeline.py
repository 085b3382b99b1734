"""A worker that ends when its host does, however the host ends."""

from __future__ import annotations

import fcntl
import os
import select
import signal


def end_with_host(read_end: int) -> None:
    """Have the kernel end this process as soon as the host closes the write end of a pipe, or dies.

    Nothing is ever written to the pipe, so that the kernel signals (SIGIO, whose default action is to end the process)
    only when its last writer is gone. That works also inside C++ that holds the interpreter's lock for minutes, where a
    thread waiting for the end of stdin would not be woken; and PR_SET_PDEATHSIG would follow the host's thread that
    started the worker rather than the host.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(read_end, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(read_end, fcntl.F_SETFL, fcntl.fcntl(read_end, fcntl.F_GETFL) | os.O_ASYNC)
    host_was_faster, _, _ = select.select([read_end], [], [], 0)
    if host_was_faster:
        os.kill(os.getpid(), signal.SIGKILL)
