"""Whether a measured latency can be believed, and why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from edgepress.benchmarking.interference import CAUSES, MAX_EXCLUDED_SHARE, Interference, find_interference
from edgepress.benchmarking.roofline import Bound
from edgepress.benchmarking.statistics import LatencySummary, summarize
from edgepress_agent.protocol.messages import MeasurementWarning

if TYPE_CHECKING:
    from edgepress_agent.protocol.messages import BoardState, Reading, RunReport

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
BOUND_FROM_NS = 1_000_000
MAX_MODES = 3  # more clusters than that are no modes but a spread

_REMEDIES = {
    "descheduled": "Stop what else runs there, or raise the quota of its container",
    "slow": "Measure again on an idle board",
    "slow-process": "Measure with more processes on an idle board",
    "sentinel": "Look at clock and temperature, and stop what else runs there",
    "clock": "Set the governor to performance and cool the board (`edgepress device check` prints how)",
    "throttled": "Cool the board, or give it a stronger power supply",
    "steal": "Measure on a machine that is not shared",
    "major-faults": "Free memory on the board",
}


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


def judge_run(
    report: RunReport, states: Sequence[BoardState], bound: Bound | None = None, max_hz: int | None = None
) -> Verdict:
    """Judge a run by its samples and by the readings of the board's state around it.

    The gravest name wins: implausible, throttled, unstable, stable. No sample is dropped on the way.

    Args:
        states: of the job, in the order they were taken; the first one from before the first worker process.
        bound: how fast the board's profile says that it can be at best.
        max_hz: of :func:`edgepress.benchmarking.interference.fixed_clock_hz`; None: the highest clock that was seen.

    Raises:
        ValueError: there is no sample.
    """
    interference = find_interference(report, states, max_hz)
    summary = summarize(report, interference=interference)
    beyond, beyond_cautions = _beyond(summary, bound)
    implausible = (*_implausible(summary), *beyond)
    throttled = tuple(_throttled([*states, *(reading for run in report.processes for reading in run.readings)]))
    unstable = (*_disturbed(interference), *_unstable(report, summary))
    cautions = (*beyond_cautions, *_cautions(summary, interference))
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
    agents = tuple(warning for warning in report.warnings if warning.code not in decided)
    return Verdict(name, reasons, (*cautions, *agents))


def _beyond(
    summary: LatencySummary, bound: Bound | None
) -> tuple[tuple[MeasurementWarning, ...], tuple[MeasurementWarning, ...]]:
    """Faster than the board can be: a reason where its profile's figures are measured, else a caution.

    Nothing is said below 1 ms: what a model of microseconds does is in the caches, where no bound of memory holds.
    """
    if bound is None or summary.p50_ns < BOUND_FROM_NS or summary.p50_ns >= bound.latency_ns:
        return (), ()
    warning = MeasurementWarning(
        "beyond-roofline",
        f"a median of {summary.p50_ns / 1e6:.2f} ms is less than the {bound.latency_ns / 1e6:.2f} ms that the board's "
        f"profile allows ({bound.reason}): another board, another clock, or a wrong figure in the profile",
        {"bound_ns": bound.latency_ns, "is_measured": bound.is_measured},
    )
    return ((warning,), ()) if bound.is_measured else ((), (warning,))


def _disturbed(interference: Interference) -> Iterator[MeasurementWarning]:
    if interference.share > MAX_EXCLUDED_SHARE:
        shares = interference.shares
        first = next(iter(shares))
        yield MeasurementWarning(
            "disturbed",
            f"{interference.share:.0%} of the run was disturbed: {CAUSES[first]} ({_listed(shares)}). "
            f"{_REMEDIES[first]}",
            {"share": interference.share, "causes": shares},
        )


def _cautions(summary: LatencySummary, interference: Interference) -> Iterator[MeasurementWarning]:
    if interference.is_excluded:
        yield MeasurementWarning(
            "blocks-excluded",
            f"{len(interference.marked)} of {interference.blocks} blocks were disturbed and are not in the headline "
            f"({_listed(interference.shares)})",
            {"share": interference.share, "causes": interference.shares},
        )
    modes = _modes(summary)
    if modes and (summary.process_spread or 0) <= PROCESS_SPREAD_LIMIT:  # beyond it the row is unstable, and says so
        yield MeasurementWarning(
            "modes",
            f"processes are of {len(summary.modes)} speeds: {modes}",
            {"modes": [asdict(mode) for mode in summary.modes]},
        )
    if summary.outliers:
        yield MeasurementWarning(
            "outliers",
            f"{summary.outliers} of {summary.samples} samples lie far from their process's median; they count",
            {"outliers": summary.outliers},
        )
    if summary.retention is not None and summary.retention < 1 - DRIFT_LIMIT:
        yield MeasurementWarning(
            "retention",
            f"at the end of the load the board had {summary.retention:.0%} of the speed that it began with",
            {"retention": summary.retention},
        )


def _modes(summary: LatencySummary) -> str:
    """The speeds that processes fall into, with their shares; empty where they are alike, or simply spread."""
    if not 1 < len(summary.modes) <= MAX_MODES:
        return ""
    return "; ".join(f"{mode.share:.0%} of them at {mode.median_ns / 1e3:,.1f} us" for mode in summary.modes)


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{cause} {share:.0%}" for cause, share in shares.items())


def _implausible(summary: LatencySummary) -> Iterator[MeasurementWarning]:
    if summary.min_ns <= 0 or summary.p50_ns < IMPLAUSIBLE_LATENCY_NS:
        yield MeasurementWarning(
            "implausible-latency",
            f"a median of {summary.p50_ns} ns (smallest {summary.min_ns} ns) is less than a call into the runtime "
            "takes: the clock or the agent is wrong",
            {"p50_ns": summary.p50_ns, "min_ns": summary.min_ns},
        )


def _throttled(states: Sequence[BoardState | Reading]) -> Iterator[MeasurementWarning]:
    bits = [state.throttled_bits for state in states if state.throttled_bits is not None]
    if not bits:
        return
    seen = 0
    for reading in bits:
        seen |= reading | (reading & ~bits[0]) >> _STICKY_SHIFT
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
        modes = _modes(summary)
        yield MeasurementWarning(
            "process-spread",
            f"processes differ by {summary.process_spread:.0%} (medians {fast / 1e3:,.1f} to {slow / 1e3:,.1f} us"
            + (f"; {modes}" if modes else "")
            + "): measure with more processes on an idle board",
            {
                "spread": summary.process_spread,
                "medians_ns": list(summary.process_medians_ns),
                "modes": [asdict(mode) for mode in summary.modes],
            },
        )
    late = [run for run in report.processes if run.steady is False]
    if len(late) > len(report.processes) / 2:
        yield MeasurementWarning(
            "not-steady",
            f"{len(late)} of {len(report.processes)} processes were not steady when their warm-up ended: use a plan "
            "with a longer warm-up",
            {"processes": len(late)},
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
            f"one run in twenty takes {summary.p95_ns / summary.p50_ns:.1f} times the median or more: stop what else "
            "runs on the board, or measure with `--plan standard`",
            {"p50_ns": summary.p50_ns, "p95_ns": summary.p95_ns},
        )
