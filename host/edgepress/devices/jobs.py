"""A job on a device, from its start to its report.

A job belongs to the board from the moment it starts: it goes on when the link drops, and its report stays there until
it is acknowledged. Whoever runs a job acknowledges it when the report is safe.
"""

from __future__ import annotations

import getpass
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgepress.errors import AgentError, DeviceError, LinkLostError

QUEUE_DEADLINE_S = 3600.0  # longer than the longest plan; who waits for ever in CI is noticed too late

if TYPE_CHECKING:
    from types import FrameType

    from edgepress.devices.device import Device
    from edgepress.progress import Progress
    from edgepress_agent.protocol.messages import JobReport, JobSpec, JobState


def run_job(
    device: Device,
    spec: JobSpec,
    description: str,
    progress: Progress,
    on_start: Callable[[str], object] | None = None,
) -> JobReport:
    """Start a job, wait for its end, and return its report, whatever the end was.

    Args:
        description: for the progress bar.
        on_start: is given the job's id before anything else happens to it, also before a Ctrl-C.

    Raises:
        LinkLostError: the connection ended; the job goes on, its id is in the message.
        AgentError: code "busy": others held the board for :data:`QUEUE_DEADLINE_S`; the job was cancelled.
        KeyboardInterrupt, and what ``on_start`` raises: after the job was cancelled and has ended.
    """
    state: JobState | None = None
    try:
        with interrupt_held():
            state = device.client.start(spec)
            if on_start is not None:
                on_start(state.job_id)
        with progress.task(description, float(state.total) or None) as task:
            device.client.wait(state.job_id, task, QUEUE_DEADLINE_S)
        return device.client.report(state.job_id)
    except LinkLostError as error:
        if state is None:
            raise
        next_step = "measure on the device again to collect its report"
        if spec.kind != "benchmark":
            next_step = "run the command again, which is done with a job of its own"
        raise LinkLostError(
            f"the connection to {device.name} ended while job {state.job_id} ran ({error}); the job goes on there: "
            f"{next_step}",
            device.name,
        ) from error
    except AgentError as error:
        if error.code == "busy" and state is not None:
            cancel(device, state.job_id)
        raise
    except DeviceError:
        raise
    except BaseException as error:
        if state is not None:
            try:
                cancel(device, state.job_id)
            except DeviceError as refusal:
                error.add_note(f"job {state.job_id} on {device.name} could not be cancelled: {refusal}")
        raise


def requester() -> str:
    """Who asks, as others who wait for the board see it: ``user@host``."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


@contextmanager
def interrupt_held() -> Iterator[None]:
    """Let a Ctrl-C wait until the block is through, however it ends; a second one ends it at once.

    Starting a job takes one exchange with the board. Interrupted in the middle of it, nobody would know the id of the
    job that holds the board from then on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted, and only it may set a signal's action
        return
    arrived = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal arrived
        if arrived:
            signal.default_int_handler(number, frame)
        arrived = True

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if arrived:
            raise KeyboardInterrupt


def cancel(device: Device, job_id: str) -> None:
    """End a job that the user no longer wants, and wait until the board is free again."""
    device.client.cancel(job_id)
    device.client.wait(job_id)
    device.client.acknowledge(job_id)
