"""Errors that have a code of the protocol: what a verb refuses with, and what a job's report says when it failed."""

from __future__ import annotations

import contextlib
import errno
import sys
import traceback
from typing import Any

from edgepress_agent.protocol.messages import ERROR_CODES, Failure

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk, quota, limit on the size of files
_MESSAGE_CHARACTERS = 2000
_TRACEBACK_CHARACTERS = 8000


class Fault(Exception):
    """Something that cannot be done, with its ``code`` (one of ``ERROR_CODES``) and JSON ``details``."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        assert code in ERROR_CODES, code
        super().__init__(message)
        self.failure = Failure(code, message, details)


def failure_of(error: BaseException) -> Failure:
    """Return an error as a value: a fault's own, "disk-full", or "internal" with the traceback, which is logged too."""
    if isinstance(error, Fault):
        return error.failure
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return Failure("disk-full", f"{error.strerror} ({error.filename or 'no file'})", {"errno": error.errno})
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    with contextlib.suppress(OSError):  # the log may be what has no room
        sys.stderr.write(text)
        sys.stderr.flush()
    message = f"{type(error).__name__}: {error}"
    return Failure("internal", message[:_MESSAGE_CHARACTERS], {"traceback": text[-_TRACEBACK_CHARACTERS:]})
