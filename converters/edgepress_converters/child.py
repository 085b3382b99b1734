"""The worker process as the host sees it: started, asked, and ended."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time

from edgepress_converters.worker.messages import Message, decode, encode

LOG_LINES = 5
_NOISE = ("I0000", "W0000", "WARNING: All log messages before absl")


class ChildDied(Exception):
    """The process ended before it answered. ``signal`` is a name such as "SIGSEGV", or empty."""

    def __init__(self, returncode: int) -> None:
        self.signal = signal.Signals(-returncode).name if returncode < 0 else ""
        super().__init__(f"died with {self.signal}" if self.signal else f"exited with code {returncode}")


class Child:
    """One worker process. What it and its libraries print goes to a file that nobody else sees.

    It has a process group of its own, so that Ctrl-C in the terminal reaches the host only, which then kills it; and it
    ends with the host however the host ends (:mod:`edgepress_converters.worker.lifeline`).
    """

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        read_end, write_end = os.pipe()
        self._lifeline = os.fdopen(write_end, "wb")
        self._process = subprocess.Popen(  # noqa: S603 - this very Python
            # -P: a file tensorflow.py in the user's directory must not become TensorFlow.
            [sys.executable, "-P", "-m", "edgepress_converters.worker", str(read_end)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
            pass_fds=(read_end,),
            process_group=0,
            # The host may be training on the GPU, of which TensorFlow takes all the memory it can get.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )
        os.close(read_end)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def tell(self, request: Message) -> None:
        """Send a request.

        Raises:
            ChildDied: the process has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(encode(request))
        except BrokenPipeError:
            raise ChildDied(self._process.wait()) from None

    def ask(self, request: Message, timeout_s: float) -> Message:
        """Send a request and return its answer.

        Raises:
            ChildDied: the process ended first.
            TimeoutError: no answer within ``timeout_s``. The process is still at it: kill it.
        """
        deadline = time.monotonic() + timeout_s
        self.tell(request)
        assert self._process.stdout is not None
        answer = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                part = self._process.stdout.read(1 << 16)
                if not part:
                    raise ChildDied(self._process.wait())
                answer += part
        return decode(bytes(answer))

    def log_size(self) -> int:
        """Bytes printed so far."""
        return os.fstat(self._log.fileno()).st_size

    def last_lines(self, since: int) -> str:
        """Return the last lines printed after the first ``since`` bytes, without TensorFlow's notes on itself."""
        # pread: the process writes at the offset that it shares with this file object.
        text = os.pread(self._log.fileno(), self.log_size() - since, since).decode(errors="replace")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith(_NOISE)]
        return "\n".join(lines[-LOG_LINES:])

    def kill(self) -> None:
        """End the process, whatever it does, and wait for its end. May be called again."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log, self._lifeline):
            if stream is not None:
                stream.close()
