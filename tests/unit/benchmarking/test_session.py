"""A measurement on a device: what is asked of the board, in which order, and what happens when it goes wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from edgepress.benchmarking import session
from edgepress.benchmarking.plans import PLANS
from edgepress.benchmarking.session import Way
from edgepress.devices.inventory import DeviceConfig
from edgepress.devices.jobs import requester
from edgepress.errors import (
    AgentError,
    DeviceError,
    DiskFullError,
    JobError,
    LinkLostError,
    ModelKilledWorkerError,
    ModelRejectedError,
    ProtocolError,
)
from edgepress.progress import Silent, Task
from edgepress.transport.agent_client import AgentClient
from edgepress.transport.fake import Answer, FakeTransport, HangUp, Refusal, ScriptedAgent
from edgepress_agent.protocol.codec import dumps, to_wire
from edgepress_agent.protocol.messages import (
    BlobState,
    Configuration,
    EvaluateReport,
    Failure,
    FileChunk,
    JobReport,
    JobState,
    Memory,
    RunReport,
    Runtime,
)
from edgepress_agent.protocol.tensors import encode_arrays
from edgepress_converters.model import TensorSpec, TFLiteModel
from support.table_rows import RUNTIME, job_report, run_report, steady_run, tflite_model

JOB = "job-1"
KILLED = Failure("worker-killed", "the worker was killed by SIGSEGV (load)", {"signal": "SIGSEGV"})


class Board:
    """A board of which one job is asked; its files are what a test says. Stands in for Device."""

    name = "pi4"
    config = DeviceConfig(name="pi4", target="pi@pi4")

    def __init__(self, report: JobReport, **verbs: Callable[[dict[str, Any], bytes | None], Answer]) -> None:
        self.files = {"report.json": dumps(to_wire(report))}
        self.status = report.status
        self.kind = report.kind
        script = {
            "stat": lambda params, _: Answer(BlobState(params["sha256"], True, 1)),
            "start": lambda params, _: Answer(self.state("queued", 0)),
            "wait": lambda params, _: Answer(self.state(self.status, 1)),
            "fetch": self.fetch,
            "cancel": self._cancel,
            "acknowledge": lambda params, _: Answer(),
            "jobs": lambda params, _: Answer({"jobs": [to_wire(self.state(self.status, 1))]}),
        }
        self.agent = ScriptedAgent({**script, **verbs})
        self.client = AgentClient(FakeTransport(self.agent).open(["agent"]), self.name)

    def runtime(self) -> Runtime:
        return RUNTIME

    def state(self, status: str, revision: int, requested_by: str | None = None) -> JobState:
        asked = requested_by or requester()
        return JobState(JOB, self.kind, status, revision, 0, 10, "", asked, None, None, tuple(self.files))

    @property
    def asked(self) -> list[str]:
        return [verb for verb, _, _ in self.agent.requests]

    def params(self, verb: str) -> dict[str, Any]:
        return next(params for asked, params, _ in self.agent.requests if asked == verb)

    def fetch(self, params: dict[str, Any], _: bytes | None) -> Answer:
        data = self.files[params["name"]]
        chunk = FileChunk(params["name"], params["offset"], len(data), hashlib.sha256(data).hexdigest())
        return Answer(chunk, data[params["offset"] : params["offset"] + params["max_bytes"]])

    def _cancel(self, params: dict[str, Any], _: bytes | None) -> Answer:
        self.status = "cancelled"
        return Answer(self.state("running", 2))


@pytest.fixture
def model(tmp_path: Path) -> TFLiteModel:
    path = tmp_path / "digits.tflite"
    path.write_bytes(b"a model")
    return dataclasses.replace(tflite_model(), path=path)


def measure(board: Board, *models: TFLiteModel) -> JobReport:
    return session.measure(cast(Any, board), models, PLANS["quick"])


def test_models_are_measured_together_in_one_job_and_the_job_is_kept_until_it_is_acknowledged(
    model: TFLiteModel,
) -> None:
    other = dataclasses.replace(model, sha256="00" * 32)
    board = Board(job_report(steady_run(threads=2), steady_run(model_sha256=other.sha256, threads=2)))
    report = session.measure(cast(Any, board), [model, other], PLANS["quick"], threads=2)
    assert [run.configuration.model_sha256 for run in report.runs] == [model.sha256, other.sha256]
    assert board.asked == ["stat", "stat", "start", "wait", "fetch"]
    spec = board.params("start")
    assert [c["model_sha256"] for c in spec["configurations"]] == [model.sha256, other.sha256]
    assert {(c["runtime_name"], c["runtime_version"], c["threads"]) for c in spec["configurations"]} == {
        ("ai-edge-litert", "2.1.6", 2)
    }


def test_a_report_with_one_model_that_failed_still_has_the_others(model: TFLiteModel) -> None:
    report = measure(Board(job_report(steady_run(), run_report([], failures=[KILLED]))), model, model)
    assert session.require_samples(report.runs[0], "pi4") is report.runs[0]
    with pytest.raises(ModelKilledWorkerError, match="SIGSEGV"):
        session.require_samples(report.runs[1], "pi4")


def test_a_model_whose_turn_never_came_is_told_why_the_job_ended() -> None:
    over = Failure("deadline", "the job's 60 s are over after 1 processes")
    report = job_report(steady_run(), run_report([]), status="failed", failure=over)
    with pytest.raises(JobError, match=r"no process of model cdcdcdcdcdcd finished: the job's 60 s are over"):
        session.require_samples(report.runs[1], "pi4", report)


@pytest.mark.parametrize("runs", [(steady_run(), steady_run()), (steady_run(threads=4),)])
def test_a_report_of_something_else_is_refused(model: TFLiteModel, runs: tuple[RunReport, ...]) -> None:
    with pytest.raises(ProtocolError, match=f"its report is of {len(runs)} others"):
        measure(Board(job_report(*runs)), model)


@pytest.mark.parametrize(
    ("report", "error"),
    [
        (job_report(run_report([], failures=[KILLED])), ModelKilledWorkerError),
        (job_report(status="failed", failure=Failure("no-runtime", "no ai-edge-litert here")), AgentError),
        (job_report(status="failed", failure=Failure("disk-full", "no room for the report")), DiskFullError),
        (job_report(run_report([], failures=[Failure("model-rejected", "no such operator")])), ModelRejectedError),
        (job_report(status="failed", failure=Failure("deadline", "too slow")), JobError),
        (job_report(status="cancelled", failure=Failure("cancelled", "somebody cancelled it")), JobError),
        (job_report(steady_run(), status="cancelled", failure=Failure("cancelled", "cancelled on request")), JobError),
    ],
)
def test_a_job_without_any_sample_or_that_was_cancelled_is_an_error_and_leaves_nothing_on_the_board(
    model: TFLiteModel, report: JobReport, error: type[DeviceError]
) -> None:
    board = Board(report)
    with pytest.raises(error, match="pi4: job job-1"):
        measure(board, model)
    assert board.asked[-1] == "acknowledge"


def test_a_job_that_died_unforeseen_is_quoted_before_it_is_forgotten(model: TFLiteModel) -> None:
    died = Failure("internal", "the job's process ended without a report")
    board = Board(job_report(status="failed", failure=died))
    board.files["job.log"] = b"Traceback\n  ...\nImportError: numpy\x1b[2J\n"
    with pytest.raises(JobError, match=r"The end of its log: Traceback \| \.\.\. \| ImportError: numpy") as caught:
        measure(board, model)
    assert "\x1b" not in str(caught.value)
    assert board.asked[-2:] == ["fetch", "acknowledge"]


def test_a_job_without_a_log_is_still_explained(model: TFLiteModel) -> None:
    def fetch(params: dict[str, Any], blob: bytes | None) -> Answer:
        if params["name"] == "job.log":
            raise Refusal(Failure("not-found", "no job.log"))
        return board.fetch(params, blob)

    board = Board(job_report(status="failed", failure=Failure("internal", "it died")), fetch=fetch)
    with pytest.raises(JobError, match=r"it died. The end of its log: not to be had \(.*no job.log"):
        measure(board, model)


def test_a_model_that_killed_its_workers_is_named_with_the_signal(model: TFLiteModel) -> None:
    with pytest.raises(ModelKilledWorkerError) as caught:
        measure(Board(job_report(run_report([], failures=[KILLED]))), model)
    assert caught.value.signal == "SIGSEGV"


class Impatient(Silent):
    """A user who presses Ctrl-C as soon as something is shown."""

    @contextmanager
    def task(self, description: str, total: float | None = None, unit: str = "steps") -> Iterator[Task]:
        with super().task(description, total) as silent:
            yield self if "measuring" in description else silent

    def update(self, done: float, total: float | None = None, message: str | None = None) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_ends_the_job_on_the_board_before_it_ends_the_command(model: TFLiteModel) -> None:
    board = Board(job_report(steady_run()))
    with pytest.raises(KeyboardInterrupt):
        session.measure(cast(Any, board), [model], PLANS["quick"], progress=Impatient())
    assert board.asked == ["stat", "start", "wait", "cancel", "wait", "acknowledge"]


def test_ctrl_c_while_the_job_is_being_started_is_held_until_its_id_is_known(model: TFLiteModel) -> None:
    def start(params: dict[str, Any], blob: bytes | None) -> Answer:
        signal.raise_signal(signal.SIGINT)
        return Answer(board.state("queued", 0))

    board = Board(job_report(steady_run()), start=start)
    with pytest.raises(KeyboardInterrupt):
        measure(board, model)
    assert board.asked == ["stat", "start", "cancel", "wait", "acknowledge"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_is_not_forgotten_when_the_job_cannot_be_started(model: TFLiteModel) -> None:
    def start(params: dict[str, Any], blob: bytes | None) -> Answer:
        signal.raise_signal(signal.SIGINT)
        raise HangUp

    with pytest.raises(KeyboardInterrupt):
        measure(Board(job_report(steady_run()), start=start), model)


def test_a_job_that_cannot_be_kept_on_file_does_not_hold_the_board(model: TFLiteModel) -> None:
    def keep(job_id: str) -> None:
        raise OSError("no space left on this machine")

    board = Board(job_report(steady_run()))
    with pytest.raises(OSError, match="no space left"):
        session.measure(cast(Any, board), [model], PLANS["quick"], on_start=keep)
    assert board.asked == ["stat", "start", "cancel", "wait", "acknowledge"]


def test_ctrl_c_on_a_lost_link_says_which_job_goes_on(model: TFLiteModel) -> None:
    def lost(params: dict[str, Any], blob: bytes | None) -> Answer:
        raise HangUp

    board = Board(job_report(steady_run()), cancel=lost)
    with pytest.raises(KeyboardInterrupt) as caught:
        session.measure(cast(Any, board), [model], PLANS["quick"], progress=Impatient())
    assert "job job-1 on pi4 could not be cancelled" in caught.value.__notes__[0]


def test_a_lost_link_names_the_job_that_goes_on(model: TFLiteModel) -> None:
    def lost(params: dict[str, Any], blob: bytes | None) -> Answer:
        raise HangUp

    with pytest.raises(LinkLostError, match=r"while job job-1 ran .* goes on") as caught:
        measure(Board(job_report(steady_run()), wait=lost), model)
    assert caught.value.device == "pi4"


def test_a_job_that_the_agent_refuses_was_never_there(model: TFLiteModel) -> None:
    def refused(params: dict[str, Any], blob: bytes | None) -> Answer:
        raise Refusal(Failure("no-runtime", "no such runtime"))

    board = Board(job_report(steady_run()), start=refused)
    with pytest.raises(DeviceError, match="no such runtime"):
        measure(board, model)
    assert board.asked == ["stat", "start"]


def test_what_a_lost_link_left_behind_is_collected_and_not_yet_acknowledged() -> None:
    report = job_report(steady_run())
    board = Board(report)
    assert session.collect(cast(Any, board), report.job_id) == report
    assert "acknowledge" not in board.asked


@pytest.mark.parametrize(
    "report",
    [
        job_report(status="cancelled", failure=Failure("cancelled", "")),
        job_report(status="failed", failure=Failure("deadline", "")),
    ],
)
def test_a_job_that_left_no_sample_is_cleared_away(report: JobReport) -> None:
    board = Board(report)
    assert session.collect(cast(Any, board), report.job_id) is None
    assert board.asked[-1] == "acknowledge"


def test_the_id_of_a_job_is_told_before_it_is_waited_for(model: TFLiteModel) -> None:
    board = Board(job_report(steady_run()))
    told: list[tuple[str, list[str]]] = []

    def tell(job_id: str) -> None:
        told.append((job_id, list(board.asked)))

    session.measure(cast(Any, board), [model], PLANS["quick"], on_start=tell)
    assert told == [("job-1", ["stat", "start"])]


class TestEvaluate:
    OUTPUTS = (np.arange(12, dtype=np.int8).reshape(3, 4), np.ones((3, 2), np.float32))
    INPUTS = (np.zeros((3, 8), np.float32),)

    @pytest.fixture
    def two_headed(self, model: TFLiteModel) -> TFLiteModel:
        def tensor(name: str, position: int) -> TensorSpec:
            return TensorSpec(name, position, "float32", (1, 8), None, None)

        return dataclasses.replace(model, inputs=(tensor("x", 0),), outputs=(tensor("a", 1), tensor("b", 0)))

    def board(self, samples: int = 3, **changes: Any) -> Board:
        data = encode_arrays(self.OUTPUTS)
        evaluation = EvaluateReport(
            configuration=steady_run().configuration,
            runtime=RUNTIME,
            delegate_nodes=1,
            operator_nodes=3,
            samples=samples,
            outputs_sha256=hashlib.sha256(data).hexdigest(),
            latency_ns=(1000,) * samples,
            memory=Memory(1, 2, 3, 0, None),
        )
        board = Board(job_report(kind="evaluate", plan=None, evaluation=evaluation, **changes))
        board.files["outputs.npys"] = data
        return board

    def test_outputs_come_back_in_model_order_and_the_job_is_done(self, two_headed: TFLiteModel) -> None:
        board = self.board()
        report, outputs = session.evaluate(cast(Any, board), two_headed, self.INPUTS)
        assert report.samples == 3
        assert all(np.array_equal(got, sent) for got, sent in zip(outputs, self.OUTPUTS, strict=True))
        spec = board.params("start")
        assert (spec["input_positions"], spec["output_positions"]) == ([0], [1, 0])
        assert spec["inputs_sha256"] == hashlib.sha256(encode_arrays(self.INPUTS)).hexdigest()
        assert board.asked[-1] == "acknowledge"

    def test_outputs_with_another_hash_than_announced_are_refused(self, two_headed: TFLiteModel) -> None:
        board = self.board()
        board.files["outputs.npys"] += b"x"
        with pytest.raises(ProtocolError, match="another hash"):
            session.evaluate(cast(Any, board), two_headed, self.INPUTS)

    def test_outputs_of_another_number_of_samples_are_refused(self, two_headed: TFLiteModel) -> None:
        with pytest.raises(ProtocolError, match="should hold 5 samples"):
            session.evaluate(cast(Any, self.board(samples=5)), two_headed, self.INPUTS)

    def test_a_failed_evaluation_is_an_error(self, two_headed: TFLiteModel) -> None:
        board = Board(job_report(kind="evaluate", plan=None, status="failed", failure=KILLED))
        with pytest.raises(ModelKilledWorkerError, match="SIGSEGV"):
            session.evaluate(cast(Any, board), two_headed, self.INPUTS)
        assert board.asked[-1] == "acknowledge"


@pytest.fixture(autouse=True)
def python_answers_ctrl_c() -> Iterator[None]:
    """A test runner in the background may have been started with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Noted:
    """Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextmanager
    def task(self, description: str, total: float | None = None, unit: str = "steps") -> Iterator[Task]:
        with Silent().task(description, total) as task:
            yield task

    def note(self, message: str) -> None:
        self.notes.append(message)


class TestWays:
    def test_a_model_is_pushed_once_and_measured_in_every_way_even_twice_in_the_same(self, model: TFLiteModel) -> None:
        ways = [Way(RUNTIME, 1), Way(RUNTIME, 4, "none"), Way(RUNTIME, 1)]
        runs = [
            dataclasses.replace(
                steady_run(),
                configuration=Configuration(model.sha256, RUNTIME.name, RUNTIME.version, way.threads, way.delegate),
            )
            for way in ways
        ]
        board = Board(job_report(*runs))
        report = session.measure_setups(cast(Any, board), [(model, way) for way in ways], PLANS["quick"])
        assert len(report.runs) == 3
        assert board.asked.count("stat") == 1
        asked = board.params("start")["configurations"]
        assert [(one["threads"], one["delegate"]) for one in asked] == [(1, "default"), (4, "none"), (1, "default")]

    @pytest.mark.parametrize("allowed", [False, True])
    def test_the_governor_is_touched_only_where_the_user_allowed_it(self, model: TFLiteModel, allowed: bool) -> None:
        board = Board(job_report(steady_run()))
        board.config = DeviceConfig(name="pi4", target="pi@pi4", allow_sudo=allowed)
        measure(board, model)
        assert board.params("start")["set_governor"] is allowed

    def test_an_adaptive_plan_says_before_how_long_it_may_take_and_after_how_far_it_got(
        self, model: TFLiteModel
    ) -> None:
        board = Board(job_report(dataclasses.replace(steady_run(), half_width=0.0123)))
        progress = Noted()
        setups = [(model, Way(RUNTIME))]
        session.measure_setups(cast(Any, board), setups, PLANS["adaptive"], progress=cast(Any, progress))
        assert "6 to 60 processes" in progress.notes[0]
        assert "min at most" in progress.notes[0]
        assert progress.notes[1] == "digits.tflite: ±1.2% after 5 processes"
