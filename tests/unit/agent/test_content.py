from __future__ import annotations

import hashlib
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent import content
from edgepress_agent.content import ContentStore
from edgepress_agent.durable import sha256_of
from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import from_wire
from edgepress_agent.protocol.messages import BlobState
from support.agent_process import MODELS, AgentProcess, Refused, files_of_at_most

CONTENT = bytes(range(256)) * 8
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(home: Home) -> ContentStore:
    return ContentStore(home)


def upload(store: ContentStore, offset: int, end: int) -> BlobState:
    return store.upload(SHA256, offset, len(CONTENT), CONTENT[offset:end])


def test_a_blob_is_there_only_after_its_hash_was_checked(store: ContentStore) -> None:
    assert store.state(SHA256) == BlobState(SHA256, present=False, received_bytes=0)
    assert upload(store, 0, 1000) == BlobState(SHA256, present=False, received_bytes=1000)
    assert upload(store, 1000, 2048) == BlobState(SHA256, present=False, received_bytes=2048)
    with pytest.raises(Fault, match="upload it first"):
        store.path(SHA256)
    complete = BlobState(SHA256, present=True, received_bytes=2048)
    assert store.commit(SHA256, 2048) == store.state(SHA256) == complete
    assert store.path(SHA256).read_bytes() == CONTENT


def test_an_upload_goes_on_where_another_agent_stopped(home: Home) -> None:
    upload(ContentStore(home), 0, 700)
    resumed = ContentStore(home)
    assert resumed.state(SHA256).received_bytes == 700
    upload(resumed, 700, 2048)
    assert resumed.commit(SHA256, 2048).present


@given(st.lists(st.tuples(st.integers(0, 2048), st.integers(0, 2048)), max_size=12))
def test_pieces_in_any_order_give_the_content_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int]]
) -> None:
    store = ContentStore(Home(tmp_path_factory.mktemp("home")))
    for start, end in pieces:
        received = store.state(SHA256).received_bytes
        try:
            state = upload(store, start, max(start, end))
        except Fault:
            assert start > received
        else:
            assert state.received_bytes == max(received, start, end)
    upload(store, store.state(SHA256).received_bytes, 2048)
    assert store.commit(SHA256, 2048).present


def test_models_and_inputs_have_folders_of_their_own(store: ContentStore, home: Home) -> None:
    model = (MODELS / "smoke.tflite").read_bytes()
    sha256 = hashlib.sha256(model).hexdigest()
    store.upload(sha256, 0, len(model), model)
    store.commit(sha256, len(model))
    upload(store, 0, 2048)
    store.commit(SHA256, 2048)
    assert store.path(sha256) == home.models / f"{sha256}.tflite"
    assert store.path(SHA256) == home.inputs / f"{SHA256}.npys"
    assert list(home.incoming.iterdir()) == []


def test_content_that_is_not_what_was_announced_is_thrown_away(store: ContentStore) -> None:
    store.upload(SHA256, 0, 5, b"wrong")
    with pytest.raises(Fault, match="expected content") as refused:
        store.commit(SHA256, 5)
    assert refused.value.failure.code == "hash-mismatch"
    assert refused.value.failure.details["found"] == hashlib.sha256(b"wrong").hexdigest()
    assert store.state(SHA256) == BlobState(SHA256, present=False, received_bytes=0)


def test_a_commit_before_the_last_piece_loses_nothing(store: ContentStore) -> None:
    upload(store, 0, 100)
    with pytest.raises(Fault, match="100 of 2048 bytes") as refused:
        store.commit(SHA256, 2048)
    assert refused.value.failure.code == "bad-request"
    assert store.state(SHA256).received_bytes == 100


def test_what_is_there_is_not_uploaded_again(store: ContentStore) -> None:
    upload(store, 0, 2048)
    store.commit(SHA256, 2048)
    assert store.upload(SHA256, 0, 2048, b"x" * 2048).present
    assert store.commit(SHA256, 2048).present
    assert store.path(SHA256).read_bytes() == CONTENT


def test_two_hosts_that_send_the_same_content_both_succeed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(ContentStore(home), 0, 2048)
    answers: list[BlobState] = []
    other = Thread(target=lambda: answers.append(ContentStore(home).commit(SHA256, 2048)))

    def slowly(path: Path) -> str:
        if not other.ident:
            other.start()
            other.join(0.2)  # it may wait for us, but must not take the file away under us
        return sha256_of(path)

    monkeypatch.setattr(content, "sha256_of", slowly)
    answers.append(ContentStore(home).commit(SHA256, 2048))
    other.join()
    assert answers == [BlobState(SHA256, present=True, received_bytes=2048)] * 2


@pytest.mark.parametrize("name", ["", "0" * 63, "0" * 65, "A" * 64, "../" + "0" * 61, "0" * 63 + "\n", "0" * 63 + "/"])
def test_only_a_sha256_names_content(store: ContentStore, home: Home, name: str) -> None:
    for call in (
        lambda: store.state(name),
        lambda: store.path(name),
        lambda: store.upload(name, 0, 1, b"x"),
        lambda: store.commit(name, 1),
    ):
        with pytest.raises(Fault) as refused:
            call()
        assert refused.value.failure.code == "bad-request"
    assert list(home.root.iterdir()) == []


@pytest.mark.parametrize(("offset", "total"), [(-1, 10), (8, 10), (0, 2)])
def test_a_piece_outside_the_whole_is_refused(store: ContentStore, offset: int, total: int) -> None:
    with pytest.raises(Fault, match="do not lie in") as refused:
        store.upload(SHA256, offset, total, b"abc")
    assert refused.value.failure.code == "bad-request"


def test_an_upload_that_cannot_fit_is_refused_before_it_begins(store: ContentStore) -> None:
    with pytest.raises(Fault, match="stay in reserve") as refused:
        store.upload(SHA256, 0, 1 << 60, b"abc")
    assert refused.value.failure.code == "disk-full"
    assert refused.value.failure.details["needed_bytes"] == 1 << 60
    assert store.state(SHA256).received_bytes == 0


def test_what_was_written_before_the_disk_was_full_stays_and_is_completed_later(home: Home, lock_file: Path) -> None:
    whole = bytes(100_000)
    sha256 = hashlib.sha256(whole).hexdigest()

    with AgentProcess(home.root, lock_file, preexec_fn=files_of_at_most(65_536)) as agent:
        with pytest.raises(Refused) as refused:
            agent.call("upload", whole, sha256=sha256, offset=0, total_bytes=len(whole))
        assert refused.value.code == "disk-full"
        kept = from_wire(BlobState, agent.call("stat", sha256=sha256))
        assert kept == BlobState(sha256, present=False, received_bytes=65_536)
    with AgentProcess(home.root, lock_file) as agent:
        agent.call("upload", whole[65_536:], sha256=sha256, offset=65_536, total_bytes=len(whole))
        assert agent.call("commit", sha256=sha256, total_bytes=len(whole))["present"]
