"""What users do with a board, on a board: provision, evaluate every format, measure, deploy, collect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edgepress.benchmarking import session
from edgepress.deployment.releases import deploy, manifest_of
from edgepress.devices.device import Device
from edgepress.devices.inventory import DeviceConfig, Inventory
from edgepress.devices.provisioning import install_runtime
from edgepress.devices.runtimes import fitting_runtimes
from edgepress.errors import LinkLostError
from edgepress.verification.output_check import OutputCheckLevel, check_outputs
from edgepress_agent.protocol.messages import Runtime
from edgepress_converters.options import FORMATS
from edgepress_converters.pool import WorkerPool
from support.device_board import NAME, BoardUnderTest
from support.device_job import PLAN, Sample, make_samples
from support.reach_proxy import LinkProxy


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, worker_pool: WorkerPool) -> dict[str, Sample]:
    return make_samples(tmp_path_factory.mktemp("job"), worker_pool)


@pytest.fixture(scope="module")
def device(board: BoardUnderTest) -> Iterator[Device]:
    with board.open() as device:
        yield device


@pytest.fixture(scope="module")
def runtimes(device: Device) -> tuple[Runtime, ...]:
    """Every runtime that fits the board, provisioned; on an emulated board they are part of its image."""
    return tuple(install_runtime(device, f"{spec.name}=={spec.version}") for spec in fitting_runtimes(device.facts))


def test_the_board_says_what_it_is(board: BoardUnderTest, device: Device) -> None:
    facts = device.facts
    assert facts.machine in ("aarch64", "armv7l")
    assert facts.physical_id
    assert facts.cpu_parts
    assert facts.emulated is (board.machine is not None)


def test_what_was_provisioned_is_what_the_board_has(device: Device, runtimes: tuple[Runtime, ...]) -> None:
    device.refresh()
    assert set(runtimes) <= set(device.facts.runtimes)
    assert len(runtimes) == len({runtime.name for runtime in runtimes}) >= 1


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_runtime_answers_right_in_every_format(
    device: Device, runtimes: tuple[Runtime, ...], samples: dict[str, Sample], format_name: str
) -> None:
    sample = samples[format_name]
    for runtime in runtimes:
        _, outputs = session.evaluate(device, sample.model, sample.goldens.inputs, runtime=runtime)
        check = check_outputs(sample.goldens, sample.model, outputs)
        assert check.level is not OutputCheckLevel.WRONG, f"{runtime.name}: {check.message}"


def test_several_models_are_measured_in_one_session(device: Device, samples: dict[str, Sample]) -> None:
    models = [samples["float32"].model, samples["int8"].model]
    report = session.measure(device, models, PLAN)
    session.acknowledge(device, report)
    assert report.facts is not None
    assert report.facts.emulated is device.facts.emulated
    for run, model in zip(report.runs, models, strict=True):
        assert run.configuration.model_sha256 == model.sha256
        assert [len(process.samples_ns) >= PLAN.min_runs for process in run.processes] == [True] * PLAN.processes
        assert all(process.memory.peak_rss_bytes > process.memory.import_rss_bytes > 0 for process in run.processes)
    assert device.client.jobs() == ()


def test_a_model_becomes_an_applications_and_the_one_before_it_is_kept(
    device: Device, samples: dict[str, Sample]
) -> None:
    for name in ("float32", "int8"):
        sample = samples[name]
        manifest = manifest_of(sample.model, device.runtime())
        state = deploy(device, sample.model, "classifier", manifest, sample.goldens.inputs, lambda outputs: None)
    assert state.current is not None
    assert samples["int8"].model.sha256[:8] in state.current
    assert state.previous is not None
    assert state.path is not None
    assert device.transport.run(["test", "-s", state.path]).returncode == 0


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


def test_a_measurement_goes_on_when_the_link_is_cut_and_its_report_is_collected(
    board: BoardUnderTest, device: Device, samples: dict[str, Sample], tmp_path: Path
) -> None:
    if board.machine is None:
        pytest.skip("the proxy that cuts the link leads to an emulated board")
    plan = replace(PLAN, processes=2)
    proxy = LinkProxy(board.machine.port)
    config = tmp_path / "ssh_config"
    config.write_text(board.machine.ssh_config.read_text().replace(f"Port {board.machine.port}", f"Port {proxy.port}"))
    far = Inventory.load(tmp_path / "devices.toml")
    far.add(DeviceConfig(name=NAME, target=NAME, ssh_config=str(config)))
    started: list[str] = []

    with Device.open(NAME, far) as distant, pytest.raises(LinkLostError, match="goes on"):
        session.measure(distant, [samples["int8"].model], plan, on_start=started.append, progress=_Cuts(proxy))
    proxy.close()
    (job_id,) = started
    report = session.collect(device, job_id)
    assert report is not None
    assert [len(process.samples_ns) >= plan.min_runs for process in report.runs[0].processes] == [True] * plan.processes
    session.acknowledge(device, report)
    assert device.client.jobs() == ()
