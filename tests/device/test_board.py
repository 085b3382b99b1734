"""What users do with a board, on a board: provision, evaluate every format, measure, deploy, collect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.benchmarking import session
from edgepress.deployment.content import push_model
from edgepress.deployment.releases import deploy, manifest_of
from edgepress.devices.device import Device
from edgepress.devices.inventory import DeviceConfig, Inventory
from edgepress.devices.provisioning import install_runtime
from edgepress.devices.runtimes import fitting_runtimes
from edgepress.emulator import Machine
from edgepress.errors import LinkLostError
from edgepress.progress import Silent
from edgepress.verification.output_check import OutputCheckLevel, check_outputs
from edgepress_agent.protocol.messages import JobReport, ReleaseSpec, Runtime
from edgepress_agent.protocol.tensors import quantize
from edgepress_converters.model import TFLiteModel
from edgepress_converters.options import FORMATS
from edgepress_converters.pool import WorkerPool
from support.device_board import NAME, BoardUnderTest
from support.device_job import PLAN, Sample, make_samples
from support.reach_proxy import LinkProxy

# An application of the board's user: loads releases, and answers each input with each of them.
APPLICATION = """
import json, sys
import numpy as np
import edgepress_agent
inputs = np.array(json.load(sys.stdin), np.float32)
answers = {}
for name in sys.argv[2:]:
    application = edgepress_agent.load(name, home=sys.argv[1])
    answers[name] = [application.predict(sample).outputs[0].tolist() for sample in inputs]
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, worker_pool: WorkerPool) -> dict[str, Sample]:
    return make_samples(tmp_path_factory.mktemp("job"), worker_pool)


@pytest.fixture(scope="module")
def runtimes(samples: dict[str, Sample], board: BoardUnderTest) -> tuple[Runtime, ...]:
    """Every runtime that fits the board, provisioned; on an emulated board they are part of its image."""
    device = board.device()
    return tuple(install_runtime(device, f"{spec.name}=={spec.version}") for spec in fitting_runtimes(device.facts))


def test_the_board_says_what_it_is_and_has_what_was_provisioned(
    runtimes: tuple[Runtime, ...], board: BoardUnderTest, device: Device
) -> None:
    device.refresh()
    facts = device.facts
    assert facts.machine in ("aarch64", "armv7l")
    assert facts.physical_id
    assert facts.cpu_parts
    assert facts.emulated is (board.machine is not None)
    assert set(runtimes) <= set(facts.runtimes)
    assert len(runtimes) == len({runtime.name for runtime in runtimes}) >= 1


def test_a_model_is_tried_before_it_becomes_an_applications_and_the_one_before_it_is_kept(
    samples: dict[str, Sample], runtimes: tuple[Runtime, ...], device: Device
) -> None:
    before, after = samples["float32"], samples["int8"]
    tried = []

    def check(outputs: tuple[Any, ...]) -> None:
        tried.append(check_outputs(after.goldens, after.model, outputs).level)

    push_model(device, before.model, Silent())
    device.client.activate(ReleaseSpec("classifier", before.model.sha256, {}))
    manifest = manifest_of(after.model, runtimes[0])
    state = deploy(device, after.model, "classifier", manifest, after.goldens.inputs, check, runtime=runtimes[0])
    assert len(tried) == 1
    assert tried[0] is not OutputCheckLevel.WRONG
    assert state.current is not None
    assert after.model.sha256[:8] in state.current
    assert state.previous is not None
    assert before.model.sha256[:8] in state.previous
    assert state.path is not None
    assert device.transport.run(["test", "-s", state.path]).returncode == 0


def test_every_runtime_answers_right_in_every_format(
    samples: dict[str, Sample], runtimes: tuple[Runtime, ...], device: Device
) -> None:
    for name, sample in samples.items():
        push_model(device, sample.model, Silent())
        device.client.activate(ReleaseSpec(name, sample.model.sha256, manifest_of(sample.model, runtimes[0])))
    pictures = json.dumps(samples["float32"].goldens.inputs[0].tolist()).encode()
    for runtime in runtimes:
        argv = [runtime.python, "-c", APPLICATION, device.hello.home, *FORMATS]
        done = device.transport.run(argv, pictures, timeout_s=120.0)
        assert done.returncode == 0, done.stderr.decode()
        for name, answers in json.loads(done.stdout).items():
            check = check_outputs(samples[name].goldens, samples[name].model, _raw(samples[name].model, answers))
            assert check.level is not OutputCheckLevel.WRONG, f"{name} by {runtime.name}: {check.message}"


def test_models_are_measured_in_one_session_which_a_cut_link_does_not_end(
    samples: dict[str, Sample], board: BoardUnderTest, device: Device, tmp_path: Path
) -> None:
    models = [samples["float32"].model, samples["int8"].model]
    if board.machine is None:
        report = session.measure(device, models, PLAN)
    else:
        report = _measured_while_the_link_was_cut(device, models, board.machine, tmp_path)
    session.acknowledge(device, report)
    assert report.facts is not None
    assert report.facts.emulated is device.facts.emulated
    for run, model in zip(report.runs, models, strict=True):
        assert run.configuration.model_sha256 == model.sha256
        assert [len(process.samples_ns) >= PLAN.min_runs for process in run.processes] == [True] * PLAN.processes
        assert all(process.memory.peak_rss_bytes > process.memory.import_rss_bytes > 0 for process in run.processes)
    assert device.client.jobs() == ()


class _Cuts:
    """Progress that cuts the link once a job has got somewhere."""

    def __init__(self, proxy: LinkProxy) -> None:
        self._proxy = proxy

    @contextmanager
    def task(self, description: str, total: float | None = None, unit: str = "steps") -> Iterator[_Cuts]:
        self._measuring = description.startswith("measuring")
        yield self

    def note(self, message: str) -> None:
        pass

    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        if self._measuring and done >= 1:
            self._proxy.cut()


def _measured_while_the_link_was_cut(
    device: Device, models: list[TFLiteModel], machine: Machine, folder: Path
) -> JobReport:
    """Start the measurement over a link of its own, which is cut after the first process; collect it over another."""
    proxy = LinkProxy(machine.port)
    config = folder / "ssh_config"
    config.write_text(machine.ssh_config.read_text().replace(f"Port {machine.port}", f"Port {proxy.port}"))
    far = Inventory.load(folder / "devices.toml")
    far.add(DeviceConfig(name=NAME, target=NAME, ssh_config=str(config)))
    started: list[str] = []
    with Device.open(NAME, far) as distant, pytest.raises(LinkLostError, match="goes on"):
        session.measure(distant, models, PLAN, on_start=started.append, progress=_Cuts(proxy))
    proxy.close()
    (job_id,) = started
    report = session.collect(device, job_id)
    assert report is not None
    return report


def _raw(model: TFLiteModel, answers: list[Any]) -> tuple[Any, ...]:
    """Turn real values of the only output back into what the tensor held."""
    (output,) = model.outputs
    real = np.array(answers, np.float32)
    return (quantize(real, np.dtype(output.dtype), output.scale, output.zero_point),)
