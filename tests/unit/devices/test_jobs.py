"""A job on a device that others hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgepress.devices import jobs
from edgepress.devices.jobs import run_job
from edgepress.errors import AgentError
from edgepress.progress import Silent
from edgepress.transport.agent_client import AgentClient
from edgepress.transport.fake import Answer, FakeTransport, ScriptedAgent
from edgepress_agent.protocol.messages import JobSpec, JobState, LockState

HOLDER = LockState(True, "j0", "ada@lab", 1)


def test_who_waits_too_long_for_a_board_gives_its_place_up_and_says_who_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "QUEUE_DEADLINE_S", 0.0)
    status = "queued"

    def state(params: dict[str, Any], _: bytes | None) -> Answer:
        waits_for = HOLDER if status == "queued" else None
        return Answer(JobState("j1", "evaluate", status, 1, 0, 1, "", "me@here", None, waits_for, ()))

    def cancel(params: dict[str, Any], _: bytes | None) -> Answer:
        nonlocal status
        status = "cancelled"
        return state(params, None)

    agent = ScriptedAgent({"start": state, "wait": state, "cancel": cancel, "acknowledge": lambda p, _: Answer()})
    device = SimpleNamespace(name="pi4", client=AgentClient(FakeTransport(agent).open(["agent"]), "pi4"))
    with pytest.raises(
        AgentError, match=r"pi4 has been in use by ada@lab .*edgepress jobs list --device pi4"
    ) as caught:
        run_job(cast(Any, device), JobSpec("evaluate", "me@here"), "trying it", Silent())
    assert caught.value.code == "busy"
    assert [verb for verb, _, _ in agent.requests] == ["start", "wait", "cancel", "wait", "acknowledge"]
