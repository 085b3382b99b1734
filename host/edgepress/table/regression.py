"""Whether a change cost more than is allowed: what CI asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from edgepress.errors import TableError
from edgepress.table.comparison import Change, Pair, Verdict, compare_rows, pair_up
from edgepress.table.result import Result

if TYPE_CHECKING:
    from edgepress.table.comparison import EvidenceOf


@dataclass(frozen=True)
class Limits:
    """How much worse things may get; None: that is not looked at.

    Attributes:
        latency, size, memory: largest increase of p50, of the file and of peak memory, as a fraction.
        metric: largest loss of the model's metric, in its own unit (accuracy: a fraction).
    """

    latency: float | None = None
    size: float | None = None
    memory: float | None = None
    metric: float | None = None


class Outcome(StrEnum):
    """What is said of one metric of one pair."""

    FINE = "ok"
    REGRESSION = "regression"
    NOISE = "within noise"
    UNJUDGED = "not judged"


@dataclass(frozen=True)
class Finding:
    """One metric of one pair, held against its limit. ``why`` is empty where the numbers say it all."""

    pair: Pair
    change: Change
    limit: float
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True)
class Regression:
    """The answer.

    Attributes:
        findings: in the order of the rows.
        missing: baseline rows that nothing was measured against.
        wrong: rows whose outputs are wrong: a regression whatever the limits.
    """

    findings: tuple[Finding, ...]
    missing: tuple[Result, ...]
    wrong: tuple[Result, ...]

    @property
    def failed(self) -> bool:
        """Whether CI should stop the change."""
        return bool(self.wrong) or any(finding.outcome is Outcome.REGRESSION for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "schema": 1,
            "failed": self.failed,
            "findings": [
                {
                    "before": finding.pair.before.id,
                    "after": finding.pair.after.id,
                    "model": finding.pair.after.model,
                    "recipe": finding.pair.after.recipe,
                    "device": finding.pair.after.device,
                    "metric": finding.change.metric,
                    "change": finding.change.change,
                    "low": finding.change.low,
                    "high": finding.change.high,
                    "is_ratio": finding.change.is_ratio,
                    "limit": finding.limit,
                    "outcome": finding.outcome,
                    "why": finding.why,
                }
                for finding in self.findings
            ],
            "missing": [row.id for row in self.missing],
            "wrong": [row.id for row in self.wrong],
        }


def find_regressions(
    evidence: EvidenceOf,
    baseline: Sequence[Result],
    candidate: Sequence[Result],
    limits: Limits,
    varies: frozenset[str] = frozenset(),
) -> Regression:
    """Hold the newest rows of a candidate against those of a baseline.

    A latency is a regression when the increase exceeds the limit **and** what noise can do: its interval lies above 1,
    and between sessions it exceeds the board's noise floor. The others are what they are: the same file has the same
    size, and on the same data the same accuracy.

    Raises:
        TableError: no row of the candidate has a counterpart in the baseline, or something that is limited could be
            judged of no pair, and nothing else has failed: silence is not success.
    """
    pairs = [compare_rows(evidence, one, other, varies) for one, other in pair_up(baseline, candidate, varies)]
    if not pairs:
        raise TableError("the candidate has no row that the baseline has, too: nothing was compared")
    findings = [finding for pair in pairs for finding in _findings(pair, limits)]
    wrong = tuple(pair.after for pair in pairs if pair.after.output_check == "wrong")
    judged = {finding.change.metric for finding in findings if finding.outcome is not Outcome.UNJUDGED}
    silent = [finding for finding in findings if finding.change.metric not in judged]
    compared = {_name(pair.before) for pair in pairs}
    newest = {_name(row): row for row in baseline}
    missing = tuple(row for name, row in newest.items() if name not in compared)
    regression = Regression(tuple(findings), missing, wrong)
    if (silent or not findings) and not regression.failed:
        reasons = sorted({f"{finding.change.metric}: {finding.why}" for finding in silent})
        raise TableError(
            f"nothing was judged of {'; '.join(reasons) or 'what the limits are of, since no pair has it'}: measure "
            "both on a real board until their rows are stable, in two processes or more, with the same data, or set a "
            "limit for what both rows state"
        )
    return regression


def _name(row: Result) -> tuple[object, ...]:
    return (row.model, row.recipe, row.device, row.threads, row.runtime, row.delegate)


def _findings(pair: Pair, limits: Limits) -> list[Finding]:
    found = []
    for change in pair.changes:
        if change.metric == "p50" and limits.latency is not None:
            found.append(_latency(pair, change, limits.latency))
        elif change.metric == "size" and limits.size is not None:
            found.append(_plain(pair, change, limits.size, change.change - 1))
        elif change.metric == "peak memory" and limits.memory is not None:
            found.append(_plain(pair, change, limits.memory, change.change - 1))
        elif not change.is_ratio and limits.metric is not None:
            loss = -change.change if pair.after.metric_higher_is_better else change.change
            found.append(_plain(pair, change, limits.metric, loss))
    return found


def _latency(pair: Pair, change: Change, limit: float) -> Finding:
    if change.verdict is Verdict.UNKNOWN:
        return Finding(pair, change, limit, Outcome.UNJUDGED, change.why)
    increase = change.change - 1
    if increase <= limit:
        return Finding(pair, change, limit, Outcome.FINE, change.why)
    if change.verdict is Verdict.WORSE:
        return Finding(pair, change, limit, Outcome.REGRESSION, change.why)
    needed = change.needed or 0.0
    if increase <= needed and not pair.same_session:
        why = (
            f"sessions on {pair.after.device} differ by up to {needed:.1%} without a cause: measure both in one "
            "session, or calibrate the device"
        )
    else:
        why = "the interval includes no change: measure with more processes"
    return Finding(pair, change, limit, Outcome.NOISE, why)


def _plain(pair: Pair, change: Change, limit: float, loss: float) -> Finding:
    if change.verdict is Verdict.UNKNOWN and change.why:
        return Finding(pair, change, limit, Outcome.UNJUDGED, change.why)
    slack = 1e-9  # 0.985 - 0.980 is 0.0050000000000000044
    return Finding(pair, change, limit, Outcome.REGRESSION if loss > limit + slack else Outcome.FINE)
