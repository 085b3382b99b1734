"""Requests about releases: what goes to the board, and what may come back."""

from __future__ import annotations

from typing import Any

import pytest

from edgepress.errors import AgentError, ProtocolError
from edgepress.transport.agent_client import AgentClient
from edgepress.transport.fake import Answer, FakeTransport, Refusal, ScriptedAgent
from edgepress_agent.protocol.codec import to_wire
from edgepress_agent.protocol.messages import (
    BlobState,
    Collected,
    Failure,
    HealthCheck,
    Release,
    ReleaseSpec,
    ReleaseState,
    RollbackSpec,
)

SHA256 = "ab" * 32
STATE = ReleaseState(
    "digits", "000002-ab", "000001-cd", (Release("000002-ab", SHA256, 9, 1, "000001-cd", "r1"),), "/path"
)
COLLECTED = Collected(("digits/000001-cd",), 1, 0, 0, 9, 0)


def client_of(**answers: Any) -> tuple[AgentClient, ScriptedAgent]:
    agent = ScriptedAgent({verb: lambda p, b, answer=answer: Answer(answer) for verb, answer in answers.items()})
    return AgentClient(FakeTransport(agent).open(["agent"]), "pi4"), agent


def test_each_request_carries_its_parameters() -> None:
    apps = {"apps": [to_wire(STATE)]}
    client, agent = client_of(
        stat=BlobState(SHA256, True, 9), activate=STATE, releases=apps, rollback=STATE, undeploy={}, gc=COLLECTED
    )
    spec = ReleaseSpec("digits", SHA256, {"a": [1]}, HealthCheck("digits.service", ("true",), 5.0))
    assert client.blob(SHA256).present
    assert client.activate(spec) == client.rollback(RollbackSpec("digits", "000002-ab")) == STATE
    assert client.releases() == client.releases("digits") == (STATE,)
    client.undeploy("digits")
    assert client.collect_garbage(2, dry_run=True) == COLLECTED
    assert [(verb, params) for verb, params, _ in agent.requests] == [
        ("stat", {"sha256": SHA256}),
        (
            "activate",
            {
                "app": "digits",
                "model_sha256": SHA256,
                "manifest": {"a": [1]},
                "health": {"restart_unit": "digits.service", "command": ["true"], "deadline_s": 5.0},
            },
        ),
        ("rollback", {"app": "digits", "release": "000002-ab", "restart_unit": None}),
        ("releases", {"app": None}),
        ("releases", {"app": "digits"}),
        ("undeploy", {"app": "digits"}),
        ("gc", {"keep": 2, "dry_run": True}),
    ]


@pytest.mark.parametrize("answer", [{}, {"apps": [{}]}, {"apps": [], "more": 1}, {"apps": {}}, []])
def test_a_list_of_another_form_breaks_the_protocol(answer: Any) -> None:
    client, _ = client_of(releases=answer)
    with pytest.raises(ProtocolError, match="broke the protocol"):
        client.releases()


def test_what_a_board_calls_its_releases_is_fit_for_a_terminal() -> None:
    client, _ = client_of(releases={"apps": [{**to_wire(STATE), "current": "\x1b]0;owned\a"}]})
    assert client.releases()[0].current == "\ufffd]0;owned\ufffd"


def test_a_switch_that_was_taken_back_says_why() -> None:
    def refuse(params: dict[str, Any], blob: bytes | None) -> Answer:
        raise Refusal(Failure("unhealthy", "`true` failed with status 1: no camera; digits uses 000001-cd again"))

    client = AgentClient(FakeTransport(ScriptedAgent({"activate": refuse})).open(["agent"]), "pi4")
    with pytest.raises(AgentError, match="pi4: `true` failed with status 1: no camera; digits uses") as refused:
        client.activate(ReleaseSpec("digits", SHA256, {}))
    assert refused.value.code == "unhealthy"
