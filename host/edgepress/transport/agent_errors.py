"""From what an agent answers to the errors that the host raises."""

from __future__ import annotations

from edgepress.errors import (
    AgentError,
    DiskFullError,
    JobError,
    ModelKilledWorkerError,
    ModelRejectedError,
    ProtocolError,
)
from edgepress_agent.protocol.messages import Failure

_MESSAGE_LIMIT = 2000  # characters of a board's own words in an error


def agent_error(failure: Failure, device: str, job_id: str = "") -> AgentError:
    """Return the error for a failure: of a request, or the reason that a job's report gives.

    Args:
        failure: what the board said, as the client has validated it. Long text is cut.
        device: the device's name.
        job_id: of the job, where the failure belongs to one.
    """
    message = f"{device}: {failure.message[:_MESSAGE_LIMIT]}"
    code = failure.code[:40]
    match code:
        case "disk-full":
            return DiskFullError(f"{message}. Free some space on the device, or give it another `home`", device, code)
        case "model-rejected":
            return ModelRejectedError(message, device, code)
        case "worker-killed":
            signal = str(failure.details.get("signal", ""))[:40]
            return ModelKilledWorkerError(message, device, code, signal)
        case "no-runtime":
            return AgentError(f"{message}. Install one with `edgepress device provision {device}`", device, code)
        case "model-failed" | "deadline" | "cancelled" | "install-failed":
            return JobError(message, device, code, job_id)
        case _ if job_id:
            return JobError(message, device, code, job_id)
        case "bad-request" | "unknown-verb":
            return ProtocolError(message, device, code)
        case _:
            return AgentError(message, device, code)
