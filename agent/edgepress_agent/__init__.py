"""The part of edgepress that runs on the board.

It is started over SSH, speaks frames on its standard input and output (:mod:`edgepress_agent.protocol`), and
runs every model in a worker process of its own. It needs Python 3.9 and the standard library; only its workers
import numpy, psutil and one TFLite runtime. It never imports tensorflow, keras or paramiko.
"""

__version__ = "0.1.0"
