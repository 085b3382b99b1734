"""Runtimes that are wrong on purpose, installed into an agent's home: LiteRT under the name of another runtime.

``slowed``: each inference is followed by a spin of a share of what it took. ``balloon``: loading, allocating and the
first inference each take a known amount of memory on top.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from edgepress_agent.protocol.messages import Runtime

NAME = "tflite-runtime"

SLOWED = """
import time
from ai_edge_litert.interpreter import *
from ai_edge_litert.interpreter import Interpreter as _Interpreter, OpResolverType

class Interpreter(_Interpreter):
    def invoke(self, _clock=time.perf_counter_ns):
        begun = _clock()
        super().invoke()
        ended = _clock()
        until = ended + int((ended - begun) * {share})
        while _clock() < until:
            pass
"""

BALLOON = """
from ai_edge_litert.interpreter import *
from ai_edge_litert.interpreter import Interpreter as _Interpreter, OpResolverType

def _take(mib):
    block = bytearray(mib << 20)
    for start in range(0, len(block), 4096):
        block[start] = 1
    return block

class Interpreter(_Interpreter):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self._loaded = _take({load})
    def allocate_tensors(self):
        super().allocate_tensors()
        self._allocated = _take({allocate})
        passing = _take({passing})
        del passing
    def invoke(self):
        super().invoke()
        if not hasattr(self, "_first"):
            self._first = _take({first})
"""


def install(home: Path, version: str, source: str) -> Runtime:
    """Make the agent with this home find a runtime of that version; return it as the agent will name it."""
    folder = home / "runtimes" / f"{NAME}-{version}-made-up"
    package = folder / "packages" / "tflite_runtime"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(source)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder / "packages"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    runtime = Runtime(NAME, version, ".".join(map(str, sys.version_info[:3])), np.__version__, os.fspath(python))
    (folder / "installed.json").write_text(json.dumps(runtime.__dict__))
    return runtime
