"""The part of edgepress that runs on the board.

It is started over SSH, speaks frames on its standard input and output (:mod:`edgepress_agent.protocol`), and
runs every model in a worker process of its own. It needs Python 3.9 and the standard library; only its workers, and
applications that :func:`load` their release, import numpy and one TFLite runtime. It never imports tensorflow, keras
or paramiko.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    import os

    from edgepress_agent.application import Application

__version__ = "0.1.0"


def load(app: str, home: Union[str, os.PathLike[str], None] = None, threads: int = 1) -> Application:
    """Load the current release of an application of this board, for the application itself to use.

    Args:
        app: its name, as ``edgepress deploy --app`` gave it.
        home: EDGEPRESS_HOME of the board; by default that of the environment, or ``~/.edgepress``.
        threads: of the interpreter.

    Raises:
        LookupError: there is no such application; the message names those that there are.
        ImportError: this Python has no TFLite runtime; the message names the one that has.
        edgepress_agent.faults.Fault: the runtime refuses the model.
    """
    from edgepress_agent.application import load as load_application

    return load_application(app, home, threads)
