from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from edgepress_agent.protocol.codec import WireError, dumps, from_wire, loads, to_wire
from edgepress_agent.protocol.messages import BlobState, Configuration, JobSpec, LockState
from support.agent_messages import MESSAGES, instances, nearly

adapter = functools.cache(TypeAdapter)
any_message = st.sampled_from(MESSAGES)


@settings(max_examples=60)
@given(any_message.flatmap(instances))
def test_every_message_comes_back_equal(message: Any) -> None:
    assert from_wire(type(message), loads(dumps(to_wire(message)))) == message


@settings(max_examples=200)
@given(any_message.flatmap(lambda cls: st.tuples(st.just(cls), nearly(cls))))
def test_agent_and_host_agree_on_what_a_message_is(case: tuple[type, Any]) -> None:
    cls, value = case
    text = dumps(value)
    try:
        agents = from_wire(cls, loads(text))
    except WireError:
        agents = None
    try:
        hosts = adapter(cls).validate_json(text)
    except ValidationError:
        hosts = None
    assert agents == hosts


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b'{"sha256":"x","present":1,"received_bytes":0}', "present: expected bool, got int 1"),
        (b'{"sha256":"x","present":true,"received_bytes":0.0}', "received_bytes: expected int, got float 0.0"),
        (b'{"sha256":"x","present":true,"received_bytes":true}', "received_bytes: expected int, got bool True"),
        (b'{"sha256":"x","present":true}', "'received_bytes' is missing"),
        (b'{"sha256":"x","present":true,"received_bytes":0,"colour":1}', "unknown key 'colour'"),
        (b"[]", "BlobState: expected an object, got list []"),
    ],
)
def test_a_complaint_names_the_field_and_what_was_got(text: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint.replace("[", r"\[").replace("]", r"\]")):
        from_wire(BlobState, loads(text))


def test_a_complaint_says_where_in_a_nested_message_it_is() -> None:
    spec = to_wire(JobSpec("benchmark", "me", (Configuration("a", "b", None), Configuration("c", "d", None))))
    spec["configurations"][1]["threads"] = "two"
    with pytest.raises(WireError, match=r"JobSpec\.configurations\[1\]\.threads: expected int, got str 'two'"):
        from_wire(JobSpec, spec)


@pytest.mark.parametrize("text", [b'{"a":1,"a":1}', b"NaN", b"[Infinity]", b"\xff", b"{", b"", b"[" * 100_000])
def test_json_with_duplicates_or_numbers_that_are_none_is_refused(text: bytes) -> None:
    with pytest.raises(WireError):
        loads(text)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400])
def test_a_number_too_large_for_a_float_is_refused(number: str) -> None:
    spec = '{"kind":"install","requested_by":"me","deadline_s":%s}'
    assert from_wire(JobSpec, loads(spec % "7")).deadline_s == 7.0
    with pytest.raises(WireError):
        from_wire(JobSpec, loads(spec % number))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_an_integer_that_no_database_takes_is_refused(number: int) -> None:
    assert loads(f"[{2**63 - 1}, {-(2**63)}]") == [2**63 - 1, -(2**63)]
    with pytest.raises(WireError, match="64 bits"):
        loads(f"[{number}]")


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\udc00\\ud800": 1}', b'["\\ud800x"]'])
def test_half_of_a_surrogate_pair_is_refused(text: str | bytes) -> None:
    with pytest.raises(WireError):
        loads(text)


def test_what_is_left_out_takes_its_default() -> None:
    assert from_wire(LockState, {"held": False}) == LockState(held=False, job_id=None)
    assert from_wire(Configuration, {"model_sha256": "a", "runtime_name": "b", "runtime_version": None}).threads == 1


def test_only_messages_go_to_the_wire() -> None:
    with pytest.raises(TypeError, match="takes a message, got dict"):
        to_wire({})
