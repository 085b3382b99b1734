"""Errors that have a code of the protocol: what a verb refuses with, and what a job's report says when it failed."""

from __future__ import annotations

import errno
from typing import Any

from edgepress_agent.protocol.messages import ERROR_CODES, Failure

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Fault(Exception):
    """Something that cannot be done, with its ``code`` (one of ``ERROR_CODES``) and JSON ``details``."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        assert code in ERROR_CODES, code
        super().__init__(message)
        self.failure = Failure(code, message, details)


def disk_full(error: OSError) -> bool:
    """Whether an operating system error says that no more can be written: disk, quota or file size limit."""
    return error.errno in _NO_SPACE


def fault_of_os_error(error: OSError, doing: str) -> Fault:
    """Return "disk-full" or "internal", with what was being done."""
    code = "disk-full" if disk_full(error) else "internal"
    return Fault(code, f"{doing}: {error.strerror or error} ({error.filename or 'no file'})", errno=error.errno)
