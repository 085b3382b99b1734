"""``python -m edgepress_agent``: what the host starts over SSH, and what the agent starts itself."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import List, Optional

from edgepress_agent import __version__
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import dumps, to_wire


def main(arguments: Optional[List[str]] = None, entered_ns: Optional[int] = None) -> int:
    """Run one subcommand and return the exit status.

    Args:
        arguments: of the command line; None takes those of this process.
        entered_ns: CLOCK_MONOTONIC at the first line of Python; a worker's start is measured with it.
    """
    parser = argparse.ArgumentParser(
        prog="edgepress_agent", description="The part of edgepress that runs on the board."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer a host on standard input and output")
    adopt = commands.add_parser("adopt", help="make this zipapp the board's agent; prints one line of JSON")
    adopt.add_argument("--sha256", required=True, help="of this zipapp")
    job = commands.add_parser("job", help="run a job that `serve` has prepared")
    job.add_argument("directory", type=Path)
    worker = commands.add_parser("worker", help="load and run one model; started by a job")
    worker.add_argument("descriptor", type=int, help="of the pipe that takes the answer")
    describe = commands.add_parser("describe-runtime", help="say as JSON what this Python has of a runtime")
    describe.add_argument("name")
    options = parser.parse_args(arguments)
    # Each command imports only what it needs: a worker's memory and start are measured.
    home = Home.from_environment(os.environ)
    if options.command in ("serve", "job"):
        from edgepress_agent.launch import hold_package

        hold_package()
    if options.command == "serve":
        from edgepress_agent.server import serve

        return serve(home)
    if options.command == "job":
        from edgepress_agent.job import main as run_job

        return run_job(options.directory, home)
    if options.command == "worker":
        from edgepress_agent.worker import main as work

        work(options.descriptor, entered_ns or time.monotonic_ns())
    if options.command == "describe-runtime":
        from edgepress_agent.runtimes import describe as describe_runtime

        runtime = describe_runtime(options.name)
        return _print_json(to_wire(runtime) if runtime else {}, 0 if runtime else 1)
    return _adopt(home, options.sha256)


def _adopt(home: Home, sha256: str) -> int:
    from edgepress_agent.adopt import adopt

    try:
        return _print_json(adopt(home, sha256), 0)
    except (ValueError, OSError) as error:
        return _print_json({"error": str(error)}, 1)


def _print_json(value: object, status: int) -> int:
    sys.stdout.write(dumps(value).decode() + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
