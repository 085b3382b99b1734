"""A row of the table."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import (
        BenchmarkPlan,
        BoardState,
        DeviceFacts,
        MeasurementWarning,
        RunReport,
    )

MEASURED = "edgepress"
"""The origin of rows that edgepress measured."""


@dataclass(frozen=True)
class Evidence:
    """What a row was derived from, as it came from the board.

    Attributes:
        run: raw samples (ns) by process, phases, memory.
        plan: how it was measured.
        facts: what the agent read on the board.
        states: readings of the board's state before, between and after the processes.
        compression: the compression report with the resolved recipe; None for a file that was measured as it came.
        provenance: what the workstation added; None in rows from before it was kept.
    """

    run: RunReport
    plan: BenchmarkPlan
    facts: DeviceFacts | None
    states: tuple[BoardState, ...]
    compression: dict[str, Any] | None
    provenance: Provenance | None = None


@dataclass(frozen=True)
class Provenance:
    """What a row says that is not in the board's report: with it, a row can be derived again from its evidence alone.

    Attributes:
        session, position, device, agent_version, edgepress_version, created_unix_ns, tflite_bytes: as in the row.
        has_int8: the file has int8 tensors.
        bound_ns, bound_is_measured, bound_reason: of :class:`edgepress.benchmarking.roofline.Bound`, or None.
        subject: the fields of :class:`edgepress.table.recording.Subject`, without the compression report.
        rules: number of the rules that the row was derived by (``recording.RULES``); 0: from before they had one.
    """

    session: str
    position: int
    device: str
    agent_version: str
    edgepress_version: str
    created_unix_ns: int
    tflite_bytes: int
    has_int8: bool
    bound_ns: int | None
    bound_is_measured: bool | None
    bound_reason: str | None
    subject: dict[str, Any]
    rules: int = 0


@dataclass(frozen=True)
class ForeignSource:
    """What a row of another tool was read from: its name, and the whole text that it left."""

    tool: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """One model measured in one way on one board. None: not known, or not enough samples to say.

    The first block is the key: two rows with the same key measured the same thing, at two times.

    Attributes:
        model_sha256: of the .tflite file.
        runtime, runtime_version, runtime_api: what ran it, e.g. ``ai-edge-litert``, ``2.1.6``, ``interpreter``.
        delegate, delegate_nodes: what was asked for (``default`` or ``none``), and how many nodes a delegate took.
        physical_device: hash of the board's serial number or machine id; two boards of one kind are two devices.
        plan, plan_sha256: the plan's name, and the hash of all its numbers.
        data_sha256: of the data set; None where accuracy was not asked for.
        training_seed: of the training inside compression steps.

        session: the job on the board. Rows of one session were measured interleaved: only those are compared.
        position: of the configuration in the session.
        model: name of the Keras model, or of the file.
        recipe, recipe_id: its name, and the hash of the resolved recipe; None for a file measured as it came.
        device: name in the inventory.
        metric: name of the metric; ``metric_value_*`` with its 95 % interval on the test split, by the host's
            interpreter and by the board; ``metric_samples`` is the number of test samples.
        latency_*: steady state, by :class:`~edgepress.benchmarking.statistics.LatencySummary`.
        processes: worker processes that finished.
        peak_rss_bytes: the largest peak resident set of a worker process.
        model_rss_bytes: how much of it came after the runtime was imported; of a foreign row what came after the tool's
            start.
        pss_bytes, file_bytes, swap_bytes: the largest proportional set, the largest part of the resident set that is
            mapped from files (the kernel may drop it and read it again), and the largest part that was swapped out.
        excluded_share: of the timed time, in blocks that were disturbed and are not in the headline.
        roofline_share: of the speed that the board's profile allows.
        retention: speed at the end of a sustained load over that at its beginning.
        energy_per_run_j: of a Raspberry Pi 5 without what hangs on USB, estimated from its power chip.
        output_check: level of the output check.
        verdict, warnings: whether to believe the latency, and why not.
        emulated: measured under emulation: the times say nothing about real hardware.
        created_unix_ns: when the measurement ended.
        source_sha256: of the Keras model that the recipe started from.
        cpu_model, os, libc, kernel, governor: what the board is and runs.
        python_version, numpy_version: of the runtime's environment on the board.
        project_commit, project_dirty: git commit of the user's project when it was measured, and whether tracked files
            differed from it.
        origin: :data:`MEASURED`, or the tool that a foreign row came from: nobody here saw its samples.
        evidence: raw samples and provenance; None in rows that were read for listing, and in foreign ones.
        source: of a foreign row; None in rows that were read for listing.
    """

    model_sha256: str
    runtime: str
    runtime_version: str
    runtime_api: str
    delegate: str
    delegate_nodes: int | None
    threads: int
    physical_device: str
    plan: str
    plan_sha256: str
    data_sha256: str | None
    training_seed: int | None

    session: str
    position: int
    model: str
    recipe: str | None
    recipe_id: str | None
    device: str
    tflite_bytes: int
    metric: str | None
    metric_higher_is_better: bool | None
    metric_samples: int | None
    metric_value_host: float | None
    metric_low_host: float | None
    metric_high_host: float | None
    metric_value_board: float | None
    metric_low_board: float | None
    metric_high_board: float | None
    samples: int
    processes: int
    latency_min_ns: int
    latency_p50_ns: int
    latency_p50_low_ns: int | None
    latency_p50_high_ns: int | None
    latency_p90_ns: int | None
    latency_p95_ns: int | None
    latency_p95_low_ns: int | None
    latency_p95_high_ns: int | None
    latency_p99_ns: int | None
    latency_max_ns: int
    process_spread: float | None
    peak_rss_bytes: int | None
    model_rss_bytes: int | None
    output_check: str | None
    verdict: str
    warnings: tuple[MeasurementWarning, ...]
    emulated: bool
    board_model: str | None
    kernel: str | None
    governor: str | None
    agent_version: str
    edgepress_version: str
    created_unix_ns: int
    source_sha256: str | None = None
    cpu_model: str | None = None
    os: str | None = None
    libc: str | None = None
    python_version: str | None = None
    numpy_version: str | None = None
    project_commit: str | None = None
    project_dirty: bool | None = None
    pss_bytes: int | None = None
    file_bytes: int | None = None
    swap_bytes: int | None = None
    excluded_share: float | None = None
    roofline_share: float | None = None
    retention: float | None = None
    energy_per_run_j: float | None = None
    origin: str = MEASURED
    evidence: Evidence | None = field(default=None, compare=False, repr=False)
    source: ForeignSource | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> str:
        """Hash of what was measured: the same for every repetition."""
        return content_hash(
            [
                self.model_sha256,
                self.runtime,
                self.runtime_version,
                self.runtime_api,
                self.delegate,
                self.delegate_nodes or 0,  # keys from before null said unknown stay what they were
                self.threads,
                self.physical_device,
                self.plan_sha256,
                self.data_sha256,
                self.training_seed,
            ]
        )

    @property
    def is_foreign(self) -> bool:
        """Whether another tool measured it."""
        return self.origin != MEASURED

    @property
    def p50_half_width(self) -> float | None:
        """The longer side of the median's interval as a fraction of the median."""
        low, high, p50 = self.latency_p50_low_ns, self.latency_p50_high_ns, self.latency_p50_ns
        return None if low is None or high is None or not p50 else max(high - p50, p50 - low) / p50

    @property
    def id(self) -> str:
        """Identity of the row: recording the same measurement twice, as after a lost link, gives one row."""
        return content_hash([self.physical_device, self.session, self.position])

    @property
    def created_at(self) -> datetime:
        """When the measurement ended, UTC."""
        return datetime.fromtimestamp(self.created_unix_ns / 1e9, UTC)

    def as_row(self) -> dict[str, Any]:
        """The row as JSON values, everywhere the same: units in the names, fractions 0..1, raw samples left out."""
        row = {name: getattr(self, name) for name in COLUMNS}
        return {
            "id": self.id,
            "key": self.key,
            **row,
            "warnings": [dataclasses.asdict(warning) for warning in self.warnings],
            "created_at": self.created_at.isoformat(timespec="milliseconds"),
        }


COLUMNS: tuple[str, ...] = tuple(
    f.name for f in dataclasses.fields(Result) if f.name not in ("evidence", "source", "warnings")
)
"""The fields that are single values, in order."""


def content_hash(value: Any) -> str:
    """Return the sha256 (hex) of JSON values in one canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def physical_device_of(facts: DeviceFacts | None, device: str) -> str:
    """Return who a board is: a hash of its own serial number or machine id, else of the name that the user gave it."""
    return facts.physical_id if facts and facts.physical_id else content_hash(["device-name", device])
