"""What is cut: an agent's deployments, rollbacks, collections of garbage, jobs, and its own replacement."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgepress_agent import launch
from edgepress_agent.adopt import adopt
from edgepress_agent.home import Home
from edgepress_agent.job_folder import FINAL
from edgepress_agent.protocol.codec import to_wire
from edgepress_agent.protocol.frames import StreamEnded
from edgepress_agent.protocol.messages import (
    Configuration,
    HealthCheck,
    JobSpec,
    ReleaseSpec,
    RollbackSpec,
    Runtime,
)
from edgepress_agent.protocol.tensors import encode_arrays
from support.cutting import ForkedAgent, Refused, Scenario

APP = "digits"
PIECES = 4  # of an upload
NOTHING = "nothing"
RUNTIME = Runtime("tflite-runtime", "2.14.0", "3.11.0", "1.26.4", sys.executable)
DEBRIS = (".new-", ".gone-", ".current", ".trial", "trial", ".model", ".manifest", ".release")
# Doubles two numbers, and starts in a tenth of the time that a real one takes.
INTERPRETER = """
import numpy as np

class OpResolverType:
    AUTO = BUILTIN_WITHOUT_DEFAULT_DELEGATES = 0

class Interpreter:
    def __init__(self, model_path, num_threads, experimental_op_resolver_type):
        open(model_path, "rb").close()
    def allocate_tensors(self): pass
    def get_input_details(self):
        return [{"name": "x", "index": 0, "shape": np.array([1, 2]), "dtype": np.float32, "quantization": (0.0, 0)}]
    get_output_details = get_input_details
    def _get_ops_details(self): return [{"op_name": "ADD"}]
    def set_tensor(self, index, array): self._x = array
    def invoke(self): self._y = self._x * 2
    def get_tensor(self, index): return self._y
"""

Start = Callable[[], ForkedAgent]


def install_runtime(folder: Path) -> None:
    """Put the module of the made-up runtime where jobs of this process find it."""
    (folder / "tflite_runtime").mkdir(parents=True, exist_ok=True)
    (folder / "tflite_runtime/__init__.py").touch()
    (folder / "tflite_runtime/interpreter.py").write_text(INTERPRETER)


def model(name: str) -> bytes:
    return b"....TFL3" + name.encode() * 1000


NAMES = {hashlib.sha256(model(name)).hexdigest(): name for name in "ABCDEFZ"}


def push(agent: ForkedAgent, content: bytes) -> str:
    """Bring content onto the board as a host does."""
    sha256 = hashlib.sha256(content).hexdigest()
    if not agent.call("stat", sha256=sha256)["present"]:
        piece = -(-len(content) // PIECES)
        for offset in range(0, len(content), piece):
            part = content[offset : offset + piece]
            agent.call("upload", part, sha256=sha256, offset=offset, total_bytes=len(content))
        agent.call("commit", sha256=sha256, total_bytes=len(content))
    return sha256


def deploy(agent: ForkedAgent, name: str, health: HealthCheck | None = None) -> Any:
    return agent.call("activate", **to_wire(ReleaseSpec(APP, push(agent, model(name)), {"of": name}, health)))


def with_releases(names: str) -> Callable[[Home], None]:
    def prepare(home: Home) -> None:
        agent = ForkedAgent(home)
        for name in names:
            deploy(agent, name)
        assert agent.close() == 0

    return prepare


def in_use(home: Home) -> str:
    """Return the name of the model that the application would load now, manifest and content being of one piece."""
    release = home.apps / APP / "current"
    if not release.is_symlink():
        return NOTHING
    name = NAMES[hashlib.sha256((release / "model.tflite").read_bytes()).hexdigest()]
    assert json.loads((release / "manifest.json").read_bytes()) == {"of": name}
    return name


def ask(home: Home) -> None:
    """The next call: it finds the application at rest, and says of it what is true."""
    agent = ForkedAgent(home)
    for state in agent.call("releases")["apps"]:
        assert not state["on_trial"]
        ids = [release["release"] for release in state["releases"]]
        assert state["current"] is None or state["current"] in ids
        for release in state["releases"]:
            content = (home.apps / APP / "releases" / release["release"] / "model.tflite").read_bytes()
            assert hashlib.sha256(content).hexdigest() == release["model_sha256"]
    assert agent.close() == 0


def settle(home: Home) -> None:
    """The next deployment and rollback take place, and the next collection leaves no trace of what was cut."""
    agent = ForkedAgent(home)
    before = next(iter(agent.call("releases")["apps"]), {"current": None})["current"]
    after = deploy(agent, "Z")
    assert in_use(home) == "Z"
    assert after["previous"] == before
    if before is not None:
        agent.call("rollback", **to_wire(RollbackSpec(APP, before)))
    agent.call("gc", keep=1000, dry_run=False)
    assert agent.close() == 0
    left = [path for path in home.root.rglob("*") if path.name.startswith(DEBRIS) and path.name != "current"]
    assert not left, f"left over: {left}"


def act_deploy(health: HealthCheck | None = None) -> Callable[[Home, Start], None]:
    def act(home: Home, start: Start) -> None:
        deploy(start(), "C", health)

    return act


def act_rollback(home: Home, start: Start) -> None:
    agent = start()
    (state,) = agent.call("releases", app=APP)["apps"]
    agent.call("rollback", **to_wire(RollbackSpec(APP, state["previous"])))


def act_undeploy(home: Home, start: Start) -> None:
    start().call("undeploy", app=APP)


def prepare_garbage(home: Home) -> None:
    with_releases("ABCDEF")(home)
    agent = ForkedAgent(home)
    push(agent, model("unused"))
    push(agent, b"inputs")
    agent.call("upload", b"given up", sha256="0" * 64, offset=0, total_bytes=100)
    assert agent.close() == 0
    home.agents.mkdir()
    (home.agents / f"{'a' * 64}.pyz").write_bytes(b"old")
    (home.agents / f"{'b' * 64}.pyz").write_bytes(b"current")
    (home.agents / "current.pyz").symlink_to(f"{'b' * 64}.pyz")
    for path in (*home.models.iterdir(), *home.inputs.iterdir(), *home.incoming.iterdir()):
        os.utime(path, (time.time() - 7 * 86_400.0,) * 2)


def act_garbage(home: Home, start: Start) -> None:
    start().call("gc", keep=0, dry_run=False)


def garbage_seen(home: Home) -> str:
    """Current and previous are whole, in the application and in the store."""
    assert (home.agents / "current.pyz").read_bytes() == b"current"
    ids = {path.name[7:]: path for path in (home.apps / APP / "releases").iterdir() if path.name[0] != "."}
    for name in "EF":
        sha256 = hashlib.sha256(model(name)).hexdigest()
        assert (ids[sha256[:12]] / "model.tflite").read_bytes() == model(name)
        assert (home.models / f"{sha256}.tflite").read_bytes() == model(name)
    return in_use(home)


def uploaded_agent(home: Home) -> str:
    home.incoming.mkdir(exist_ok=True)
    (home.incoming / "new.pyz").write_bytes(b"new")
    return hashlib.sha256(b"new").hexdigest()


def prepare_adopt(home: Home) -> None:
    home.agents.mkdir()
    old = f"{hashlib.sha256(b'old').hexdigest()}.pyz"
    (home.agents / old).write_bytes(b"old")
    (home.agents / "current.pyz").symlink_to(old)
    uploaded_agent(home)


def replace_agent(home: Home) -> int:
    """Do in a process of its own what ``adopt`` does in the uploaded archive's."""
    process_id = os.fork()
    if process_id == 0:
        launch.package_root = lambda: home.incoming / "new.pyz"
        try:
            adopt(home, hashlib.sha256(b"new").hexdigest())
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1])


def agent_in_use(home: Home) -> str:
    current = (home.agents / "current.pyz").resolve()
    assert hashlib.sha256(current.read_bytes()).hexdigest() == current.stem
    return current.read_bytes().decode()


def adopt_again(home: Home) -> None:
    uploaded_agent(home)
    assert replace_agent(home) == 0
    assert agent_in_use(home) == "new"


def agents_settled(home: Home) -> None:
    assert sorted(path.suffix for path in home.agents.iterdir()) == [".pyz"] * 3
    assert not list(home.incoming.iterdir())


def prepare_job(home: Home) -> None:
    with_releases("AB")(home)
    folder = home.runtime(RUNTIME.name, RUNTIME.version)
    folder.mkdir(parents=True)
    (folder / "installed.json").write_text(json.dumps(to_wire(RUNTIME)))
    agent = ForkedAgent(home)
    push(agent, job_inputs())
    assert agent.close() == 0


def job_inputs() -> bytes:
    import numpy as np  # takes seconds on an emulated board, where there are no jobs to be cut

    return encode_arrays([np.ones((3, 2), np.float32)])


def act_job(home: Home, start: Start) -> Any:
    """Run a job and collect it; return how it ended."""
    agent = start()
    inputs = hashlib.sha256(job_inputs()).hexdigest()
    configuration = Configuration(hashlib.sha256(model("B")).hexdigest(), RUNTIME.name, None)
    spec = JobSpec("evaluate", "cut@here", (configuration,), inputs_sha256=inputs, deadline_s=20.0)
    job_id = agent.call("start", **to_wire(spec))["job_id"]
    state = wait_for(agent, job_id)
    agent.call("fetch", job_id=job_id, name="report.json", offset=0, max_bytes=1 << 20)
    agent.call("acknowledge", job_id=job_id)
    return state


def wait_for(agent: ForkedAgent, job_id: str) -> Any:
    state = agent.call("wait", job_id=job_id, seen=-1, timeout_s=0.0)
    while state["status"] not in FINAL:
        state = agent.call("wait", job_id=job_id, seen=state["revision"], timeout_s=20.0)
    return state


def jobs_settled(home: Home) -> None:
    """Every job that there is has ended by itself or is found dead, can be collected, and the next one succeeds."""
    agent = ForkedAgent(home)
    for job in agent.call("jobs")["jobs"]:
        state = wait_for(agent, job["job_id"])
        if "report.json" in state["files"]:
            agent.call("fetch", job_id=job["job_id"], name="report.json", offset=0, max_bytes=1 << 20)
        with suppress(Refused):
            agent.call("acknowledge", job_id=job["job_id"])
    assert agent.call("jobs")["jobs"] == []
    agent.close()
    agents: list[ForkedAgent] = []

    def start() -> ForkedAgent:
        agents.append(ForkedAgent(home))
        return agents[0]

    state = act_job(home, start)
    assert state["status"] == "ended", state
    agents[0].call("gc", keep=1000, dry_run=False)
    assert agents[0].close() == 0
    assert list(home.jobs.iterdir()) == []


def back_on_b(home: Home) -> None:
    """What was on trial when its agent died is not healthy as long as nobody has said so."""
    ask(home)
    assert in_use(home) == "B"


def act_upgrade(home: Home, start: Start) -> None:
    if replace_agent(home) != 0:
        raise StreamEnded(mid_frame=False)  # the host has no better word than that it is not there


HEALTHY, SICK = HealthCheck(command=("true",)), HealthCheck(command=("false",))
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("deploy", with_releases("AB"), act_deploy(), in_use, "B", "C", ask, settle),
        Scenario("first", lambda home: None, act_deploy(), in_use, NOTHING, "C", ask, settle),
        Scenario("healthy", with_releases("AB"), act_deploy(HEALTHY), in_use, "B", "C", ask, settle),
        Scenario("sick", with_releases("AB"), act_deploy(SICK), in_use, "B", "C", back_on_b, settle),
        Scenario("rollback", with_releases("AB"), act_rollback, in_use, "B", "A", ask, settle),
        Scenario("undeploy", with_releases("AB"), act_undeploy, in_use, "B", NOTHING, ask, settle),
        Scenario("gc", prepare_garbage, act_garbage, garbage_seen, "F", "F", ask, settle),
        Scenario("upgrade", prepare_adopt, act_upgrade, agent_in_use, "old", "new", adopt_again, agents_settled),
        Scenario("job", prepare_job, act_job, in_use, "B", "B", ask, jobs_settled),
    )
}
