"""Questions on a terminal, and what is said of a task that is over."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
from types import SimpleNamespace

import pytest

from edgepress.cli.console import make_progress

PROGRAM = """
import sys
from edgepress.cli.console import ask_secret, make_progress
with make_progress() as progress, progress.task("sending", 10, "bytes") as task:
    task.update(5)
    answer = ask_secret("password of pi@pi4")
sys.exit(answer != "hunter2")
"""


def test_a_secret_is_asked_on_the_terminal_and_not_shown_there() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    shown = b""
    while b"password of pi@pi4" not in shown:
        shown += os.read(ours, 4096)
    os.write(ours, b"hunter2\n")
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # the other end has closed
        pass
    os.close(ours)
    assert process.wait(20) == 0, shown.decode()
    assert b"hunter2" not in shown


def test_a_long_upload_leaves_its_rate_without_what_was_there_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 102.0])
    monkeypatch.setattr("edgepress.cli.console.time", SimpleNamespace(monotonic=lambda: next(clock)))
    with make_progress() as progress, progress.task("sending m.tflite to pi4", 8 << 20, "bytes") as task:
        task.update(4 << 20)  # resumed
        task.update(8 << 20)
    assert capsys.readouterr().err == "sending m.tflite to pi4: 2.0 s (2.0 MiB/s)\n"


def test_what_users_code_prints_at_work_is_no_part_of_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    with make_progress():
        sys.stdout.write("loading my data\n")
    sys.stdout.write("{}\n")
    assert capsys.readouterr() == ("{}\n", "loading my data\n")
