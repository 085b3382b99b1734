"""The host's half of the conversation, against scripted agents: honest, failing, and hostile ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.errors import (
    AgentError,
    DiskFullError,
    JobError,
    LinkLostError,
    ModelKilledWorkerError,
    ModelRejectedError,
    ProtocolError,
)
from edgepress.transport.agent_client import AgentClient
from edgepress.transport.base import Channel
from edgepress.transport.fake import Answer, FakeTransport, HangUp, Refusal, ScriptedAgent, Stall, Verb
from edgepress.transport.upload_requests import PIECE_BYTES, PIECES_ON_A_LONG_WAY, PIECES_ON_THE_WAY
from edgepress_agent.protocol.codec import WireError, from_wire, to_wire
from edgepress_agent.protocol.frames import CHUNK_BYTES, encode_frame
from edgepress_agent.protocol.messages import (
    PROTOCOL_VERSION,
    BlobState,
    Failure,
    FileChunk,
    Hello,
    JobReport,
    JobSpec,
    JobState,
    LockState,
    Memory,
)
from support.reach_agents import HELLO, MemoryStore

CONTENT = bytes(range(256)) * 10_000  # three chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def job_state(status: str = "running", revision: int = 1, **changes: Any) -> JobState:
    values: dict[str, Any] = {
        "job_id": "j1",
        "kind": "benchmark",
        "status": status,
        "revision": revision,
        "done": 1,
        "total": 5,
        "message": "measuring",
        "requested_by": "me@here",
        "started_unix_ns": 1,
        "waits_for": None,
        "files": (),
    }
    return JobState(**{**values, **changes})


def client_of(verbs: dict[str, Verb]) -> tuple[AgentClient, ScriptedAgent]:
    agent = ScriptedAgent(verbs)
    return AgentClient(FakeTransport(agent).open(["agent"]), "pi4"), agent


def client_answering(result: Any, blob: bytes | None = None) -> AgentClient:
    class EveryVerb(dict[str, Verb]):
        def __contains__(self, verb: object) -> bool:
            return True

        def __missing__(self, verb: str) -> Verb:
            return lambda params, _: Answer(result, blob)

    return client_of(EveryVerb())[0]


class TestHello:
    def test_it_returns_what_the_agent_said(self) -> None:
        assert client_answering(HELLO).hello() == HELLO

    @pytest.mark.parametrize(
        ("version", "who"), [(PROTOCOL_VERSION - 1, "agent on the board"), (PROTOCOL_VERSION + 1, "edgepress on this")]
    )
    def test_another_protocol_version_says_who_is_older_and_what_to_do(self, version: int, who: str) -> None:
        client = client_answering(Hello(version, "9", None, "3.11.2", "/", 7))
        with pytest.raises(ProtocolError, match=rf"{who}.* is older.*edgepress device provision pi4"):
            client.hello()


class TestPush:
    def test_content_arrives_whole_from_bytes_and_from_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "model.tflite"
        file.write_bytes(CONTENT)
        for source in (CONTENT, file):
            store = MemoryStore()
            client_of(store.verbs())[0].push(source, SHA256)
            assert store.complete[SHA256] == CONTENT

    def test_content_that_is_there_is_not_sent_again(self) -> None:
        store = MemoryStore()
        store.complete[SHA256] = CONTENT
        client, agent = client_of(store.verbs())
        client.push(CONTENT, SHA256)
        assert [verb for verb, _, _ in agent.requests] == ["stat"]

    def test_an_interrupted_upload_goes_on_where_it_stopped(self) -> None:
        store = MemoryStore(part=CONTENT[:CHUNK_BYTES])
        client_of(store.verbs())[0].push(CONTENT, SHA256)
        assert store.complete[SHA256] == CONTENT
        assert store.received_bytes == len(CONTENT) - CHUNK_BYTES

    def test_a_part_that_was_damaged_on_the_board_is_sent_again_from_its_start(self) -> None:
        store = MemoryStore(part=b"\0" * CHUNK_BYTES)
        client_of(store.verbs())[0].push(CONTENT, SHA256)
        assert store.complete[SHA256] == CONTENT

    def test_content_of_another_hash_is_refused(self) -> None:
        with pytest.raises(AgentError, match="other bytes") as caught:
            client_of(MemoryStore().verbs())[0].push(CONTENT, hashlib.sha256(b"else").hexdigest())
        assert caught.value.code == "hash-mismatch"

    def test_empty_content_is_content(self) -> None:
        store = MemoryStore()
        client_of(store.verbs())[0].push(b"", hashlib.sha256(b"").hexdigest())
        assert list(store.complete.values()) == [b""]

    def test_progress_is_said_in_bytes(self) -> None:
        said: list[tuple[float, float | None]] = []

        class Shown:
            def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
                said.append((done, total))

        client_of(MemoryStore().verbs())[0].push(CONTENT, SHA256, Shown())
        total = len(CONTENT)
        pieces = [(end, total) for end in range(0, total, PIECE_BYTES)]
        assert said == [*pieces, (total, total), (total, total)]

    def test_pieces_are_on_the_way_before_those_ahead_are_answered_but_only_so_many(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgepress.transport.upload_requests.LONG_ROUND_TRIP_S", 1e9)
        store, ahead = MemoryStore(), []

        class Shown:
            def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
                ahead.append(store.received_bytes - done)

        client_of(store.verbs())[0].push(CONTENT, SHA256, Shown())
        assert max(ahead) == (PIECES_ON_THE_WAY - 1) * PIECE_BYTES

    def test_on_a_long_link_more_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgepress.transport.upload_requests.LONG_ROUND_TRIP_S", -1.0)
        store, ahead = MemoryStore(), []

        class Shown:
            def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
                ahead.append(store.received_bytes - done)

        client_of(store.verbs())[0].push(CONTENT, SHA256, Shown())
        assert max(ahead) == (PIECES_ON_A_LONG_WAY - 1) * PIECE_BYTES

    def test_a_file_that_becomes_shorter_while_it_is_sent_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "model.tflite"
        file.write_bytes(CONTENT)
        store = MemoryStore()

        def cut(params: dict[str, Any], chunk: bytes | None) -> Answer:
            file.write_bytes(CONTENT[: 2 * PIECE_BYTES])
            return store.upload(params, chunk)

        with pytest.raises(AgentError, match="changed meanwhile"):
            client_of({**store.verbs(), "upload": cut})[0].push(file, SHA256)

    @pytest.mark.parametrize("received", [0, -5, len(CONTENT) + 1])
    def test_a_board_that_does_not_get_further_breaks_the_protocol(self, received: int) -> None:
        store = MemoryStore()
        verbs = {**store.verbs(), "upload": lambda p, _: Answer(BlobState(SHA256, False, received))}
        with pytest.raises(ProtocolError, match="upload up to"):
            client_of(verbs)[0].push(CONTENT, SHA256)


class TestJobs:
    def test_waiting_ends_with_the_final_state_and_shows_each_change_once(self) -> None:
        states = iter(
            [job_state(revision=1), job_state(revision=1), job_state(revision=2, done=4), job_state("ended", 3)]
        )
        client, agent = client_of({"wait": lambda p, _: Answer(next(states))})
        said: list[float] = []

        class Shown:
            def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
                said.append(done)

        assert client.wait("j1", Shown()).status == "ended"
        assert said == [1, 4, 1]
        assert [params["seen"] for _, params, _ in agent.requests] == [-1, 1, 1, 2]

    def test_a_queued_job_says_for_whom_it_waits(self) -> None:
        states = iter([job_state("queued", message="waits for eve@there\x1b[2J"), job_state("ended", 2)])
        client, _ = client_of({"wait": lambda p, _: Answer(next(states))})
        messages: list[str | None] = []

        class Shown:
            def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
                messages.append(message)

        client.wait("j1", Shown())
        assert messages[0] == "waits for eve@there\ufffd[2J"

    def test_a_status_that_nobody_knows_breaks_the_protocol(self) -> None:
        with pytest.raises(ProtocolError, match="'bored'; known are queued, running"):
            client_answering(job_state("bored")).start(JobSpec("benchmark", "me"))

    def test_jobs_lists_them(self) -> None:
        jobs = [to_wire(job_state()), to_wire(job_state("ended"))]
        assert [job.status for job in client_answering({"jobs": jobs}).jobs()] == ["running", "ended"]

    def test_text_from_a_board_is_fit_for_a_terminal_wherever_it_stands(self) -> None:
        hostile = to_wire(job_state(message="\x1b]0;owned\x07 50\u00a0%", requested_by="\x9b2J"))
        (job,) = client_answering({"jobs": [hostile]}).jobs()
        assert job.message == "\ufffd]0;owned\ufffd 50\ufffd%"
        assert job.requested_by == "\ufffd2J"

    @pytest.mark.parametrize("result", [{}, {"jobs": 3}, {"jobs": [3]}, {"jobs": [], "more": 1}, []])
    def test_a_list_of_jobs_of_another_form_breaks_the_protocol(self, result: Any) -> None:
        with pytest.raises(ProtocolError):
            client_answering(result).jobs()

    def test_the_short_verbs_carry_their_parameters(self) -> None:
        client, agent = client_of(
            {
                "cancel": lambda p, _: Answer(job_state("cancelled")),
                "acknowledge": lambda p, _: Answer(),
                "lock": lambda p, _: Answer(LockState(False)),
            }
        )
        assert client.cancel("j1").status == "cancelled"
        client.acknowledge("j1")
        assert not client.lock().held
        assert [(verb, params) for verb, params, _ in agent.requests] == [
            ("cancel", {"job_id": "j1"}),
            ("acknowledge", {"job_id": "j1"}),
            ("lock", {}),
        ]


REPORT = JobReport(PROTOCOL_VERSION, "j1", "benchmark", "failed", 1, 2, "0.1.0", None, failure=Failure("deadline", "x"))


def serving(data: bytes, sha256: str | None = None, piece: int = 1 << 20) -> dict[str, Verb]:
    def fetch(params: dict[str, Any], _: bytes | None) -> Answer:
        start = params["offset"]
        chunk = FileChunk(params["name"], start, len(data), sha256 or hashlib.sha256(data).hexdigest())
        return Answer(chunk, data[start : start + piece])

    return {"fetch": fetch}


class TestFetch:
    def test_a_file_comes_in_pieces_and_is_put_together(self) -> None:
        assert client_of(serving(CONTENT, piece=70_000))[0].fetch("j1", "outputs.npys") == CONTENT

    def test_a_report_is_checked_and_typed(self) -> None:
        data = json.dumps(to_wire(REPORT)).encode()
        assert client_of(serving(data))[0].report("j1") == REPORT

    @pytest.mark.parametrize(
        "damage",
        [
            lambda text: text.replace('"status"', '"statuz"'),
            lambda text: text.replace('"started_unix_ns": 1', '"started_unix_ns": "1"'),
            lambda text: text.replace('"started_unix_ns": 1', '"started_unix_ns": NaN'),
            lambda text: text.replace('"kind"', '"job_id": "j2", "kind"'),
            lambda text: text.replace('{"code"', '{"details": {"x": NaN}, "code"'),
            lambda text: text.replace('"j1"', '"j2"'),
            lambda text: text[:-1],
            lambda text: "[" * 100_000,
        ],
        ids=["unknown key", "text as number", "NaN", "duplicate key", "deep NaN", "another job", "cut", "deep"],
    )
    def test_a_report_that_is_not_what_it_should_be_breaks_the_protocol(self, damage: Any) -> None:
        data = damage(json.dumps(to_wire(REPORT))).encode()
        with pytest.raises(ProtocolError, match="pi4 broke the protocol"):
            client_of(serving(data))[0].report("j1")

    def test_a_file_with_another_hash_breaks_the_protocol(self) -> None:
        with pytest.raises(ProtocolError, match="does not have the hash"):
            client_of(serving(CONTENT, sha256=SHA256[::-1]))[0].fetch("j1", "outputs.npys")

    def test_a_file_that_is_too_large_is_not_fetched(self) -> None:
        client, agent = client_of(serving(CONTENT))
        with pytest.raises(ProtocolError, match="more than the 1000 allowed"):
            client.fetch("j1", "outputs.npys", limit_bytes=1000)
        assert len(agent.requests) == 1

    @pytest.mark.parametrize(
        "chunk",
        [
            (FileChunk("other", 0, 4, "x"), b"data"),
            (FileChunk("f", 1, 4, "x"), b"data"),
            (FileChunk("f", 0, 3, "x"), b"data"),
            (FileChunk("f", 0, 4, "x"), None),
        ],
        ids=["another file", "another place", "more than there is", "nothing"],
    )
    def test_a_piece_that_was_not_asked_for_breaks_the_protocol(self, chunk: tuple[FileChunk, bytes | None]) -> None:
        with pytest.raises(ProtocolError):
            client_answering(*chunk).fetch("j1", "f")


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("disk-full", DiskFullError),
            ("model-rejected", ModelRejectedError),
            ("worker-killed", ModelKilledWorkerError),
            ("bad-request", ProtocolError),
            ("unknown-verb", ProtocolError),
            ("model-failed", JobError),
            ("deadline", JobError),
            ("cancelled", JobError),
            ("install-failed", JobError),
            ("not-found", AgentError),
            ("no-runtime", AgentError),
            ("busy", AgentError),
            ("internal", AgentError),
            ("never heard of", AgentError),
        ],
    )
    def test_each_code_becomes_the_error_that_fits(self, code: str, kind: type[AgentError]) -> None:
        def refuse(params: dict[str, Any], blob: bytes | None) -> Answer:
            raise Refusal(Failure(code, "because\x1b[1m", {"signal": "SIGSEGV"}))

        with pytest.raises(kind) as caught:
            client_of({"lock": refuse})[0].lock()
        assert type(caught.value) is kind
        assert (caught.value.code, caught.value.device) == (code, "pi4")
        assert str(caught.value).startswith("pi4: because\ufffd[1m")
        if isinstance(caught.value, ModelKilledWorkerError):
            assert caught.value.signal == "SIGSEGV"

    def test_an_error_about_a_job_names_it(self) -> None:
        def refuse(params: dict[str, Any], blob: bytes | None) -> Answer:
            raise Refusal(Failure("deadline", "too late"))

        with pytest.raises(JobError) as caught:
            client_of({"cancel": refuse})[0].cancel("j7")
        assert caught.value.job_id == "j7"

    def test_a_conversation_goes_on_after_a_refusal(self) -> None:
        client, _ = client_of({"hello": lambda p, _: Answer(HELLO)})
        with pytest.raises(ProtocolError, match="no 'lock'"):
            client.lock()
        assert client.hello() == HELLO


class TestLink:
    def test_an_agent_that_is_gone_says_that_jobs_go_on_and_how_to_collect_them(self) -> None:
        def hang_up(params: dict[str, Any], blob: bytes | None) -> Answer:
            raise HangUp

        client, _ = client_of({"lock": hang_up})
        with pytest.raises(LinkLostError, match=r"Jobs on the board go on.*edgepress device check pi4"):
            client.lock()
        with pytest.raises(LinkLostError, match="conversation with pi4 is over"):
            client.lock()

    def test_an_answer_that_does_not_come_is_a_lost_link(self) -> None:
        def stall(params: dict[str, Any], blob: bytes | None) -> Answer:
            raise Stall

        with pytest.raises(LinkLostError, match="deadline"):
            client_of({"lock": stall})[0].lock()

    def test_after_an_interrupted_wait_the_job_can_be_cancelled(self) -> None:
        states = {1: job_state(), 2: job_state("cancelled", 2)}
        first, second = (encode_frame({"id": n, "result": to_wire(state)}) for n, state in states.items())

        class Interrupted(Replying):
            def read(self, size: int, deadline: float) -> bytes:
                piece = super().read(size, deadline)
                if piece == b"\x03":
                    raise KeyboardInterrupt
                return piece

        client = AgentClient(Interrupted([first[:9], b"\x03", first[9:], second]), "pi4")
        with pytest.raises(KeyboardInterrupt):
            client.wait("j1")
        assert client.cancel("j1").status == "cancelled"

    @pytest.mark.parametrize("number", [None, "1", 2, 0, -1, True, 1.0])
    def test_an_answer_to_something_else_breaks_the_protocol(self, number: Any) -> None:
        client = AgentClient(Replying([encode_frame({"id": number, "result": to_wire(HELLO)})]), "pi4")
        with pytest.raises(ProtocolError, match="hello is request 1"):
            client.hello()

    @pytest.mark.parametrize(
        "header",
        [{"id": 1}, {"id": 1, "result": {}, "error": {}}, {"id": 1, "result": {}, "more": 1}, {"id": 1, "error": 3}],
    )
    def test_an_answer_is_either_a_result_or_an_error(self, header: dict[str, Any]) -> None:
        with pytest.raises(ProtocolError):
            AgentClient(Replying([encode_frame(header)]), "pi4").lock()

    def test_a_shell_that_prints_when_one_logs_in_is_guessed_at(self) -> None:
        with pytest.raises(ProtocolError, match=r"bashrc"):
            AgentClient(Replying([b"Welcome to Raspberry Pi OS!\n"]), "pi4").hello()

    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
    def test_whatever_a_board_sends_ends_in_a_typed_error(self, pieces: list[bytes]) -> None:
        with pytest.raises((ProtocolError, LinkLostError)):
            AgentClient(Replying(pieces), "pi4").hello()


class Replying(Channel):
    """A channel that has its answers ready, whatever is asked."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)

    def read(self, size: int, deadline: float) -> bytes:
        return next(self._pieces, b"")

    def write(self, data: bytes, deadline: float) -> None:
        pass

    def last_words(self) -> str:
        return "exit status 1"

    def close(self) -> None:
        pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.integers(-5, 5) | json_values
            for name in ("import_rss_bytes", "load_peak_bytes", "peak_rss_bytes", "swap_bytes", "pss_bytes", "other")
        },
    )
    | json_values
)
def test_host_and_agent_hold_the_same_values_to_be_messages(value: Any) -> None:
    """pydantic on the host and the agent's own codec read the same classes."""
    client = client_answering(value)
    try:
        expected = from_wire(Memory, value)
    except WireError:
        with pytest.raises(ProtocolError):
            client._ask("memory", Memory)
    else:
        assert client._ask("memory", Memory) == expected
