"""Answers requests from stdin until it ends. See :mod:`edgepress_converters.worker.messages`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback

from edgepress_converters.errors import ConverterError
from edgepress_converters.worker.lifeline import end_with_host
from edgepress_converters.worker.messages import Message, decode, encode


def main() -> None:
    """Serve. The one argument is the file descriptor of the lifeline."""
    end_with_host(int(sys.argv[1]))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # C++ prints to 1 as well
    for line in sys.stdin.buffer:
        request = decode(line)
        if request["task"] == "prepare":
            with contextlib.suppress(ImportError):  # the conversion that needs it will say so
                importlib.import_module("tensorflow")
            continue
        answers.write(encode(_answer(request)))
        answers.flush()


def _answer(request: Message) -> Message:
    try:
        if request["task"] == "convert":
            from edgepress_converters.worker.convert import convert

            convert(request)
        else:
            from edgepress_converters.worker.run import run

            run(request)
    except ConverterError as error:
        traceback.print_exc()
        return {"error": type(error).__name__, "message": str(error)}
    return {}


if __name__ == "__main__":
    main()
