from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from edgepress_agent.content import ContentStore
from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import from_wire, to_wire
from edgepress_agent.protocol.messages import ReleaseSpec, ReleaseState
from edgepress_agent.releases import ReleaseStore
from support.agent_process import MODELS, AgentProcess, Refused


def spec(home: Home, model: bytes, **manifest: object) -> ReleaseSpec:
    sha256 = hashlib.sha256(model).hexdigest()
    store = ContentStore(home)
    store.upload(sha256, 0, len(model), model)
    store.commit(sha256, len(model))
    return ReleaseSpec("digits", sha256, dict(manifest))


def current_model(home: Home) -> bytes:
    return (home.apps / "digits" / "current" / "model.tflite").read_bytes()


def test_the_first_release_becomes_current_under_a_path_that_stays(home: Home) -> None:
    state = ReleaseStore(home).activate(spec(home, b"one", labels=["0", "1"]))
    assert state.current == f"000001-{hashlib.sha256(b'one').hexdigest()[:12]}"
    assert (state.previous, state.releases) == (None, (state.current,))
    assert state.path == str(home.apps / "digits" / "current" / "model.tflite")
    assert current_model(home) == b"one"
    assert json.loads((home.apps / "digits/current/manifest.json").read_text()) == {"labels": ["0", "1"]}


def test_the_second_release_replaces_the_first_which_becomes_previous(home: Home) -> None:
    store = ReleaseStore(home)
    first = store.activate(spec(home, b"one"))
    second = store.activate(spec(home, b"two"))
    assert second.previous == first.current
    assert second.releases == (first.current, second.current)
    assert current_model(home) == b"two"
    assert (home.apps / "digits/previous/model.tflite").read_bytes() == b"one"


def test_activating_what_is_current_again_changes_nothing(home: Home) -> None:
    store = ReleaseStore(home)
    first = store.activate(spec(home, b"one", version=1))
    assert store.activate(spec(home, b"one", version=1)) == first
    assert store.activate(spec(home, b"one", version=2)).previous == first.current


def test_links_are_relative_so_that_the_home_can_be_moved(home: Home) -> None:
    ReleaseStore(home).activate(spec(home, b"one"))
    moved = home.root.rename(home.root.parent / "moved")
    assert (moved / "apps/digits/current/model.tflite").read_bytes() == b"one"


def test_a_model_costs_its_space_once(home: Home) -> None:
    release = spec(home, b"one")
    ReleaseStore(home).activate(release)
    model = ContentStore(home).path(release.model_sha256)
    assert model.samefile(home.apps / "digits/current/model.tflite")


def test_a_switch_that_was_cut_off_leaves_the_old_release_and_the_next_one_works(home: Home) -> None:
    store = ReleaseStore(home)
    store.activate(spec(home, b"one"))
    (home.apps / "digits/releases/.new-000002-cut").mkdir()
    (home.apps / "digits/releases/.new-000002-cut/model.tflite").write_bytes(b"t")
    assert current_model(home) == b"one"
    state = store.activate(spec(home, b"two"))
    assert state.current is not None
    assert state.current.startswith("000002-")
    assert len(list((home.apps / "digits/releases").iterdir())) == 2


def test_a_release_whose_model_is_not_there_is_refused_and_nothing_changes(home: Home) -> None:
    store = ReleaseStore(home)
    before = store.activate(spec(home, b"one"))
    with pytest.raises(Fault, match="upload it first"):
        store.activate(ReleaseSpec("digits", "0" * 64, {}))
    assert store.state("digits") == before


@pytest.mark.parametrize("app", ["", ".", "..", "../x", "a/b", "A", "a b", "-x", "x" * 65, "a\n", "ä"])
def test_a_name_that_is_none_is_refused(home: Home, app: str) -> None:
    release = ReleaseSpec(app, spec(home, b"one").model_sha256, {})
    for call in (lambda: ReleaseStore(home).activate(release), lambda: ReleaseStore(home).state(app)):
        with pytest.raises(Fault) as refused:
            call()
        assert refused.value.failure.code == "bad-request"
    assert not home.apps.exists()


def test_a_host_activates_and_asks_over_frames(agent: AgentProcess) -> None:
    with pytest.raises(Refused, match="not-found: no application 'digits'"):
        agent.call("releases", app="digits")
    sha256 = agent.push_model("smoke.tflite")
    activated = agent.call("activate", **to_wire(ReleaseSpec("digits", sha256, {"labels": None})))
    state = from_wire(ReleaseState, agent.call("releases", app="digits"))
    assert state == from_wire(ReleaseState, activated)
    assert state.path is not None
    assert Path(state.path).read_bytes() == (MODELS / "smoke.tflite").read_bytes()
