"""Links that break, stall, or lead to a full board: nothing is lost, and every wait ends."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgepress.devices.agent_archive import agent_archive
from edgepress.devices.device import Device
from edgepress.devices.inventory import Inventory
from edgepress.devices.reach import agent_command, connect
from edgepress.errors import DiskFullError, LinkLostError, TransportError
from edgepress.transport.agent_client import AgentClient
from edgepress.transport.ssh import SshTransport
from edgepress_agent.protocol.frames import CHUNK_BYTES
from edgepress_agent.protocol.messages import BenchmarkPlan, Configuration, JobSpec, Runtime
from support.reach_proxy import LinkProxy
from support.sshd import Board

pytestmark = pytest.mark.ssh

MODELS = Path(__file__).parents[1] / "cases" / "models"
PLAN = BenchmarkPlan(
    name="test",
    processes=4,
    warmup_min_runs=2,
    warmup_min_ns=1_000_000,
    min_runs=20,
    min_duration_ns=100_000_000,
    max_duration_ns=5_000_000_000,
    seed=7,
    process_deadline_s=60.0,
    job_deadline_s=120.0,
)


@pytest.fixture
def proxy(board: Board) -> Iterator[LinkProxy]:
    proxy = LinkProxy(board.port)
    yield proxy
    proxy.close()


@pytest.fixture
def through_proxy(board: Board, proxy: LinkProxy, tmp_path: Path) -> Inventory:
    return board.inventory(tmp_path, port=proxy.port)


class CutsWhenSeen:
    """A progress bar that pulls the plug when a job has got somewhere."""

    def __init__(self, proxy: LinkProxy) -> None:
        self._proxy = proxy
        self.seen: list[float] = []

    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        self.seen.append(done)
        if done >= 1:
            self._proxy.cut()


def test_a_benchmark_whose_link_is_cut_ends_and_the_next_call_collects_its_report(
    proxy: LinkProxy, through_proxy: Inventory, inventory_beside: Inventory, litert: Runtime
) -> None:
    content = (MODELS / "slow.tflite").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    job = JobSpec("benchmark", "tester@here", (Configuration(sha256, litert.name, litert.version),), PLAN)
    with Device.open("board", through_proxy) as device:
        device.client.push(content, sha256)
        started = device.client.start(job)
        task = CutsWhenSeen(proxy)
        with pytest.raises(LinkLostError, match="edgepress device check board"):
            device.client.wait(started.job_id, task)
        assert 1 <= task.seen[-1] < PLAN.processes
    with Device.open("board", inventory_beside) as device:
        assert started.job_id in [state.job_id for state in device.client.jobs()]
        assert device.client.wait(started.job_id).status == "ended"
        report = device.client.report(started.job_id)
        device.client.acknowledge(started.job_id)
        assert started.job_id not in [state.job_id for state in device.client.jobs()]
    (run,) = report.runs
    assert len(run.processes) == PLAN.processes
    assert all(len(process.samples_ns) >= PLAN.min_runs for process in run.processes)


@pytest.fixture
def inventory_beside(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """The way to the same board that leads past the proxy."""
    return board.inventory(tmp_path_factory.mktemp("direct"))


def test_a_push_is_resumed_after_a_cut(proxy: LinkProxy, through_proxy: Inventory, inventory_beside: Inventory) -> None:
    content = os.urandom(6 * CHUNK_BYTES + 17)
    sha256 = hashlib.sha256(content).hexdigest()
    with Device.open("board", through_proxy) as device:
        proxy.cut_after(4 * CHUNK_BYTES + CHUNK_BYTES // 2)
        with pytest.raises(LinkLostError):
            device.client.push(content, sha256)
    before = proxy.sent_bytes
    with Device.open("board", through_proxy) as device:
        device.client.push(content, sha256)
        assert proxy.sent_bytes - before < 3.5 * CHUNK_BYTES  # two and a bit were missing, one may be sent twice
        again = proxy.sent_bytes
        device.client.push(content, sha256)
        assert proxy.sent_bytes - again < 10_000


def test_a_link_that_stalls_ends_by_its_deadline(proxy: LinkProxy, through_proxy: Inventory, board: Board) -> None:
    Device.open("board", through_proxy).close()  # the agent is there after it
    config = through_proxy.device("board")
    serve = agent_command(config, f"{board.home}/agents/{agent_archive().sha256}.pyz", "serve")
    with connect(config, through_proxy) as transport:
        client = AgentClient(transport.open(serve), "board", answer_timeout_s=2.0)
        client.hello()
        proxy.stall()
        began = time.monotonic()
        with pytest.raises(LinkLostError, match="no answer in time"):
            client.facts()
        assert time.monotonic() - began < 8


def test_a_device_whose_link_has_died_unnoticed_is_closed_without_a_word(through_proxy: Inventory) -> None:
    """The socket is dead, paramiko's reader has not seen it yet, and the goodbye cannot be sent."""
    with Device.open("board", through_proxy) as device:
        assert isinstance(device.transport, SshTransport)
        device.transport._link.connection.sock.shutdown(socket.SHUT_WR)


def test_an_upload_into_a_link_that_stalls_ends_by_its_deadline(proxy: LinkProxy, through_proxy: Inventory) -> None:
    """paramiko's own time-outs do not end this wait: the socket takes no more."""
    with connect(through_proxy.device("board"), through_proxy) as transport:
        channel = transport.open(["cat"])
        proxy.stall()
        began = time.monotonic()
        with pytest.raises(LinkLostError, match="no answer in time"):
            channel.write(os.urandom(32 * CHUNK_BYTES), began + 1.0)
        assert time.monotonic() - began < 8


@pytest.fixture(params=["8m"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A real file system of that size."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(place)]
    if getpass.getuser() != "root" or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_on_the_board_is_told_with_what_is_needed_and_free(
    board: Board, small_disk: Path, tmp_path: Path
) -> None:
    inventory = board.inventory(tmp_path, home=str(small_disk / "home"))
    content = os.urandom(6 << 20)
    with Device.open("board", inventory) as device:
        with pytest.raises(DiskFullError, match=rf"{len(content)} bytes are to come.*\d+ are free.*Free some space"):
            device.client.push(content, hashlib.sha256(content).hexdigest())
        small = content[: 1 << 20]
        device.client.push(small, hashlib.sha256(small).hexdigest())  # the agent lives on, and what fits still fits


@pytest.mark.parametrize("small_disk", ["16k"], indirect=True)
def test_a_board_without_room_for_the_agent_itself_says_so(board: Board, small_disk: Path, tmp_path: Path) -> None:
    inventory = board.inventory(tmp_path, home=str(small_disk / "home"))
    with pytest.raises(TransportError, match=r"cannot be written on board.*Is its disk full"):
        Device.open("board", inventory)
    assert list((small_disk / "home/incoming").iterdir()) == []  # trying again does not fill it further


def test_two_hosts_see_who_has_the_board(
    through_proxy: Inventory, inventory_beside: Inventory, litert: Runtime
) -> None:
    content = (MODELS / "endless.tflite").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    configuration = Configuration(sha256, litert.name, litert.version)
    job = JobSpec("benchmark", "ada@here", (configuration,), replace(PLAN, min_runs=1_000_000_000))
    with Device.open("board", through_proxy) as ada, Device.open("board", inventory_beside) as bob:
        ada.client.push(content, sha256)
        first = ada.client.start(job)
        try:
            seen = -1
            while (
                ada.client._ask("wait", type(first), {"job_id": first.job_id, "seen": seen, "timeout_s": 5.0}).status
                == "queued"
            ):
                seen += 1
            held = bob.lock()
            assert (held.held, held.requested_by, held.job_id) == (True, "ada@here", first.job_id)
        finally:
            assert ada.client.cancel(first.job_id).status == "cancelled"
            ada.client.acknowledge(first.job_id)
        assert not bob.lock().held
