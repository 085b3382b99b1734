from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from pathlib import Path
from threading import Thread

import pytest

from edgepress_agent import durable, releases
from edgepress_agent.content import ContentStore
from edgepress_agent.durable import only_one
from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.protocol.codec import from_wire, to_wire
from edgepress_agent.protocol.messages import HealthCheck, Release, ReleaseSpec, ReleaseState, RollbackSpec
from edgepress_agent.releases import ReleaseStore
from support.agent_process import MODELS, AgentProcess, Refused

FAILS = HealthCheck(command=(sys.executable, "-c", "print('the camera sees nothing'); raise SystemExit(3)"))


def spec(home: Home, model: bytes, health: HealthCheck | None = None, **manifest: object) -> ReleaseSpec:
    sha256 = hashlib.sha256(model).hexdigest()
    store = ContentStore(home)
    store.upload(sha256, 0, len(model), model)
    store.commit(sha256, len(model))
    return ReleaseSpec("digits", sha256, dict(manifest), health)


def current_model(home: Home) -> bytes:
    return (home.apps / "digits" / "current" / "model.tflite").read_bytes()


def ids(state: ReleaseState) -> list[str]:
    return [release.release for release in state.releases]


def test_the_first_release_becomes_current_under_a_path_that_stays(home: Home) -> None:
    state = ReleaseStore(home).activate(spec(home, b"one", labels=["0", "1"], recipe_id="ab12"))
    sha256 = hashlib.sha256(b"one").hexdigest()
    assert state.current == f"000001-{sha256[:12]}"
    (release,) = state.releases
    expected = Release(state.current, sha256, 3, release.activated_unix_ns, replaced=None, recipe_id="ab12")
    assert (state.previous, state.on_trial, release) == (None, False, expected)
    assert state.path == str(home.apps / "digits" / "current" / "model.tflite")
    assert current_model(home) == b"one"
    manifest = json.loads((home.apps / "digits/current/manifest.json").read_text())
    assert manifest == {"labels": ["0", "1"], "recipe_id": "ab12"}


def test_the_second_release_replaces_the_first_which_becomes_previous(home: Home) -> None:
    store = ReleaseStore(home)
    first = store.activate(spec(home, b"one"))
    second = store.activate(spec(home, b"two"))
    assert second.previous == first.current
    assert ids(second) == [first.current, second.current]
    assert current_model(home) == b"two"


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


@pytest.mark.parametrize("before", [b"one", None])
def test_a_trial_whose_agent_died_is_taken_back_by_whoever_asks_next(home: Home, before: bytes | None) -> None:
    store = ReleaseStore(home)
    old = store.activate(spec(home, before)).current if before else None
    store.activate(spec(home, b"two"))
    (home.apps / "digits/trial").symlink_to(f"releases/{old or 'nothing'}")  # as during the trial
    state = store.state("digits")
    assert (state.current, state.on_trial) == (old, False)
    assert store.activate(spec(home, b"three")).previous == old


def test_a_trial_that_is_going_on_is_left_alone_by_those_who_only_ask(home: Home) -> None:
    store = ReleaseStore(home)
    store.activate(spec(home, b"one"))
    new = store.activate(spec(home, b"two")).current
    (home.apps / "digits/trial").symlink_to("releases/nothing")
    with only_one(home.apps / "digits"):  # which the process that tries it out holds
        state = store.state("digits")
    assert (state.current, state.on_trial) == (new, True)


def test_a_release_that_is_not_healthy_is_taken_back_and_thrown_away(home: Home) -> None:
    store = ReleaseStore(home)
    before = store.activate(spec(home, b"one"))
    with pytest.raises(Fault, match=rf"status 3: the camera sees nothing; digits uses {before.current} again") as said:
        store.activate(spec(home, b"two", FAILS))
    assert said.value.failure.code == "unhealthy"
    assert said.value.failure.details == {"log": "the camera sees nothing\n"}
    assert store.state("digits") == before
    assert current_model(home) == b"one"


def test_a_first_release_that_is_not_healthy_leaves_the_application_with_none(home: Home) -> None:
    with pytest.raises(Fault, match="digits uses nothing again"):
        ReleaseStore(home).activate(spec(home, b"one", FAILS))
    assert ReleaseStore(home).state("digits") == ReleaseState("digits", None, None, (), None)


def test_a_release_that_a_failing_disk_keeps_in_use_is_whole_until_the_next_call_goes_back(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ReleaseStore(home)
    before = store.activate(spec(home, b"one"))
    with monkeypatch.context() as patch:
        patch.setattr(releases, "_go_back", lambda folder, old: failing_disk())
        with pytest.raises(OSError, match="Input/output"):
            store.activate(spec(home, b"two", FAILS))
    assert current_model(home) == b"two"
    assert store.state("digits").current == before.current


def test_an_application_whose_undeployment_fails_is_still_there(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ReleaseStore(home)
    before = store.activate(spec(home, b"one"))
    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync_directory", lambda path: failing_disk())
        with pytest.raises(OSError, match="Input/output"):
            store.undeploy("digits")
    assert store.state("digits") == before


def failing_disk() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_health_command_finds_the_new_release_in_use(home: Home) -> None:
    program = (
        "import os; model = os.path.realpath(os.environ['EDGEPRESS_HOME'] + '/apps/digits/current/model.tflite')\n"
        "assert model == os.environ['EDGEPRESS_MODEL'] == os.path.realpath('model.tflite')\n"
        "assert os.environ['EDGEPRESS_APP'] == 'digits' and os.environ['EDGEPRESS_RELEASE'] in model\n"
    )
    command = ("env", f"EDGEPRESS_HOME={home.root.resolve()}", sys.executable, "-c", program)
    assert not ReleaseStore(home).activate(spec(home, b"one", HealthCheck(command=command))).on_trial


def test_rollback_goes_back_step_by_step_and_a_release_can_be_named(home: Home) -> None:
    store = ReleaseStore(home)
    one, two, three = (store.activate(spec(home, model)).current for model in (b"one", b"two", b"three"))
    assert one
    assert two
    assert three
    back = store.rollback(RollbackSpec("digits", two))
    assert (back.current, back.previous) == (two, one)
    assert current_model(home) == b"two"
    assert store.rollback(RollbackSpec("digits", one)).previous is None
    assert store.rollback(RollbackSpec("digits", three)).current == three
    assert store.rollback(RollbackSpec("digits", three)).current == three  # asked twice, as after a lost answer


def test_rollback_to_what_is_not_there_or_damaged_changes_nothing(home: Home) -> None:
    store = ReleaseStore(home)
    one = store.activate(spec(home, b"one")).current
    assert one
    before = store.activate(spec(home, b"two"))
    with pytest.raises(Fault, match=rf"no release '000009-abcdefabcdef'; there is {one}, {before.current}"):
        store.rollback(RollbackSpec("digits", "000009-abcdefabcdef"))
    with pytest.raises(Fault, match="no release"):
        store.rollback(RollbackSpec("digits", "../../../models"))
    (home.apps / "digits/releases" / one / "model.tflite").write_bytes(b"0ne")
    with pytest.raises(Fault, match=f"{one} of digits is damaged"):
        store.rollback(RollbackSpec("digits", one))
    assert store.state("digits").current == before.current


def test_undeploy_leaves_nothing_of_an_application(home: Home) -> None:
    store = ReleaseStore(home)
    store.activate(spec(home, b"one"))
    store.undeploy("digits")
    assert store.states() == ()
    assert list(home.apps.iterdir()) == []
    with pytest.raises(Fault, match="no application 'digits' on this board; there is none"):
        store.undeploy("digits")
    assert store.activate(spec(home, b"one")).current


def test_who_waited_while_an_application_was_undeployed_begins_it_anew(home: Home) -> None:
    store = ReleaseStore(home)
    store.activate(spec(home, b"one"))
    wanted = spec(home, b"two")
    waiting = Thread(target=lambda: ReleaseStore(home).activate(wanted))
    with only_one(home.apps / "digits"):
        waiting.start()
        waiting.join(0.2)  # it waits for us by now, or will find the folder gone
        releases.remove_folder(home.apps / "digits")
    waiting.join()
    assert current_model(home) == b"two"
    assert len(store.state("digits").releases) == 1


def test_a_release_whose_model_is_not_there_is_refused_and_nothing_changes(home: Home) -> None:
    store = ReleaseStore(home)
    before = store.activate(spec(home, b"one"))
    with pytest.raises(Fault, match="upload it first"):
        store.activate(ReleaseSpec("digits", "0" * 64, {}))
    assert store.state("digits") == before


def test_a_model_that_was_damaged_in_the_store_is_refused_and_can_be_sent_again(home: Home) -> None:
    store = ReleaseStore(home)
    wanted = spec(home, b"one")
    ContentStore(home).path(wanted.model_sha256).write_bytes(b"0ne")
    with pytest.raises(Fault, match="was damaged on this board; upload it again"):
        store.activate(wanted)
    assert store.activate(spec(home, b"one")).current


@pytest.mark.parametrize(
    "app", ["", ".", "..", "../x", "a/b", "A", "a b", "-x", "x" * 65, "a\n", "ä", "a\0", ".gone-x"]
)
def test_a_name_that_is_none_is_refused(home: Home, app: str) -> None:
    store = ReleaseStore(home)
    release = ReleaseSpec(app, spec(home, b"one").model_sha256, {})
    for call in (
        lambda: store.activate(release),
        lambda: store.state(app),
        lambda: store.undeploy(app),
        lambda: store.rollback(RollbackSpec(app, "000001-abcdefabcdef")),
    ):
        with pytest.raises(Fault) as refused:
            call()
        assert refused.value.failure.code == "bad-request"
    assert not home.apps.exists()


def test_a_host_activates_asks_goes_back_and_undeploys_over_frames(agent: AgentProcess) -> None:
    with pytest.raises(Refused, match="not-found: no application 'digits'"):
        agent.call("releases", app="digits")
    assert agent.call("releases") == {"apps": []}
    states = []
    for name in ("smoke.tflite", "conv_int8.tflite"):
        sha256 = agent.push_model(name)
        activated = agent.call("activate", **to_wire(ReleaseSpec("digits", sha256, {"labels": None})))
        states.append(from_wire(ReleaseState, activated))
        assert agent.call("releases", app="digits") == agent.call("releases") == {"apps": [activated]}
    first, second = states
    assert second.path is not None
    assert Path(second.path).read_bytes() == (MODELS / "conv_int8.tflite").read_bytes()
    assert first.current is not None
    back = agent.call("rollback", **to_wire(RollbackSpec("digits", first.current)))
    assert back["current"] == first.current
    assert agent.call("undeploy", app="digits") == {}
    assert agent.call("releases") == {"apps": []}
