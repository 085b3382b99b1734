"""Whether a measured latency can be believed, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from edgepress.benchmarking.statistics import LatencySummary, summarize
from edgepress_agent.protocol.messages import MeasurementWarning

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import BoardState, RunReport

# MLPerf Mobile 4.0 asks for results within 5 % in 5 tries: what differs by more between processes does not repeat.
PROCESS_SPREAD_LIMIT = 0.05
# The same 5 % inside a process: warm-up has not ended, or the board slows down.
DRIFT_LIMIT = 0.05
# One run in twenty that takes half as long again was disturbed. Ours; ExecuTorch's stability score reaches 0 for p99
# at 2x the median (analyze_benchmark_stability.py).
TAIL_LIMIT = 1.5
# A call from Python into a runtime that does nothing takes longer (about 1 us on a workstation).
IMPLAUSIBLE_LATENCY_NS = 200
# vcgencmd get_throttled: bits 0-3 hold now, bits 16-19 hold since boot.
_THROTTLED_NOW = {
    0: "under-voltage",
    1: "ARM frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
_STICKY_SHIFT = 16


class VerdictName(StrEnum):
    """What is said of a row."""

    STABLE = "stable"
    UNSTABLE = "unstable"
    THROTTLED = "throttled"
    IMPLAUSIBLE = "implausible"


@dataclass(frozen=True)
class Verdict:
    """A verdict with the findings that led to it (``reasons``), and the agent's warnings that only ask for care
    (``cautions``)."""

    name: VerdictName
    reasons: tuple[MeasurementWarning, ...]
    cautions: tuple[MeasurementWarning, ...]

    @property
    def warnings(self) -> tuple[MeasurementWarning, ...]:
        """All findings, the decisive ones first."""
        return self.reasons + self.cautions


def judge_run(report: RunReport, states: Sequence[BoardState]) -> Verdict:
    """Judge a run by its samples and by the readings of the board's state around it.

    The gravest name wins: implausible, throttled, unstable, stable. No sample is dropped on the way.

    Args:
        states: of the job, in the order they were taken; the first one from before the first worker process.

    Raises:
        ValueError: there is no sample.
    """
    summary = summarize(report)
    implausible = tuple(_implausible(summary))
    throttled = tuple(_throttled(states))
    unstable = tuple(_unstable(report, summary))
    name = (
        VerdictName.IMPLAUSIBLE
        if implausible
        else VerdictName.THROTTLED
        if throttled
        else VerdictName.UNSTABLE
        if unstable
        else VerdictName.STABLE
    )
    reasons = implausible + throttled + unstable
    decided = {reason.code for reason in reasons}
    return Verdict(name, reasons, tuple(warning for warning in report.warnings if warning.code not in decided))


def _implausible(summary: LatencySummary) -> Iterator[MeasurementWarning]:
    if summary.min_ns <= 0 or summary.p50_ns < IMPLAUSIBLE_LATENCY_NS:
        yield MeasurementWarning(
            "implausible-latency",
            f"a median of {summary.p50_ns} ns (smallest {summary.min_ns} ns) is less than a call into the runtime "
            "takes: the clock or the agent is wrong",
            {"p50_ns": summary.p50_ns, "min_ns": summary.min_ns},
        )


def _throttled(states: Sequence[BoardState]) -> Iterator[MeasurementWarning]:
    bits = [state.throttled_bits for state in states if state.throttled_bits is not None]
    if not bits:
        return
    became_sticky = (bits[-1] & ~bits[0]) >> _STICKY_SHIFT
    seen = became_sticky
    for reading in bits:
        seen |= reading
    causes = [name for bit, name in _THROTTLED_NOW.items() if seen >> bit & 1]
    if causes:
        yield MeasurementWarning(
            "throttled",
            f"the firmware slowed the board down during the measurement ({', '.join(causes)}): cool it, or give it a "
            "stronger power supply",
            {"throttled_bits": bits},
        )


def _unstable(report: RunReport, summary: LatencySummary) -> Iterator[MeasurementWarning]:
    if report.failures:
        first = report.failures[0]
        yield MeasurementWarning(
            "process-failed",
            f"{len(report.failures)} of {len(report.failures) + summary.processes} worker processes did not finish; "
            f"the first: {first.message}",
            {"failures": len(report.failures), "code": first.code},
        )
    if summary.processes == 1:
        yield MeasurementWarning(
            "one-process",
            "measured in one process only: whether another would give the same is not known; use more processes",
        )
    elif summary.process_spread is not None and summary.process_spread > PROCESS_SPREAD_LIMIT:
        slow, fast = max(summary.process_medians_ns), min(summary.process_medians_ns)
        yield MeasurementWarning(
            "process-spread",
            f"processes differ by {summary.process_spread:.0%} (medians {fast / 1e3:,.1f} to {slow / 1e3:,.1f} us): "
            "measure with more processes on an idle board",
            {"spread": summary.process_spread, "medians_ns": list(summary.process_medians_ns)},
        )
    if summary.drift is not None and abs(summary.drift) > DRIFT_LIMIT:
        word = "slower" if summary.drift > 0 else "faster"
        yield MeasurementWarning(
            "drift",
            f"runs get {word} by {abs(summary.drift):.0%} inside a process: use a plan with a longer warm-up, and look "
            "at temperature and clock",
            {"drift": summary.drift},
        )
    if summary.p95_ns is not None and summary.p95_ns > TAIL_LIMIT * summary.p50_ns > 0:
        yield MeasurementWarning(
            "long-tail",
            f"one run in twenty takes {summary.p95_ns / summary.p50_ns:.1f} times the median or more: something else "
            "runs on the board",
            {"p50_ns": summary.p50_ns, "p95_ns": summary.p95_ns},
        )
