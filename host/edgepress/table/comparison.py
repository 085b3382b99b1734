"""What changed from one row to another: ratio with interval and verdict, metric by metric.

Latency is compared by the stored raw samples, processes being the unit of repetition. Inside a session processes are
paired, if both rows have the same rounds. Between sessions the interval alone would promise too much, since boards
differ from session to session by more than processes do inside one: a change must exceed the board's noise floor, too
(:func:`edgepress.benchmarking.floor.noise_floor`); inside one, twice what the same file differs from itself there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from edgepress.benchmarking.comparison import MATERIAL, threshold_of
from edgepress.benchmarking.floor import noise_floor, session_floor
from edgepress.benchmarking.interference import fixed_clock_hz, samples_by_round
from edgepress.benchmarking.statistics import Ratio, independent_ratio, paired_ratio
from edgepress.errors import TableError
from edgepress.table.conditions import unlike
from edgepress.table.result import Result

if TYPE_CHECKING:
    from edgepress.table.result import Evidence
    from edgepress.table.selection import Selection

    EvidenceOf = Callable[[str], Evidence]

# What two rows must have in common to be a pair, unless it is what is being compared.
PAIRED_BY = (
    "model",
    "recipe",
    "device",
    "physical_device",
    "runtime",
    "delegate",
    "threads",
    "governor",
    "training_seed",
    "origin",
)


class Verdict(StrEnum):
    """What may be said of a change."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "no difference shown"
    UNKNOWN = "not comparable"


@dataclass(frozen=True)
class Change:
    """One metric of a pair.

    Attributes:
        metric: ``p50``, ``p95``, ``size``, ``peak memory``, or the name of the model's metric.
        before, after: in ns, bytes, or the metric's own unit.
        is_ratio: whether ``change``, ``low`` and ``high`` are after / before, or after - before.
        low, high: 95 % interval of the change; None where there is none.
        needed: how far (a fraction) a ratio must be from 1 to count.
        why: of a verdict that is not obvious.
    """

    metric: str
    before: float
    after: float
    is_ratio: bool
    change: float
    low: float | None
    high: float | None
    verdict: Verdict
    needed: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Pair:
    """Two rows that are compared.

    Attributes:
        same_session: measured interleaved, in one session.
        differs: conditions that differ between the rows though nobody asked to compare them.
    """

    before: Result
    after: Result
    same_session: bool
    differs: tuple[str, ...]
    changes: tuple[Change, ...]

    def change(self, metric: str) -> Change | None:
        """The change of one metric."""
        return next((change for change in self.changes if change.metric == metric), None)

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "before": self.before.id,
            "after": self.after.id,
            "model": self.after.model,
            "recipe": [self.before.recipe, self.after.recipe],
            "device": [self.before.device, self.after.device],
            "same_session": self.same_session,
            "differs": list(self.differs),
            "changes": [dataclasses.asdict(change) for change in self.changes],
        }


def compare(evidence: EvidenceOf, before: Selection, after: Selection, varies: frozenset[str]) -> tuple[Pair, ...]:
    """Compare the rows of two selections, pair by pair.

    Rows are a pair when they agree in :data:`PAIRED_BY` but for ``varies``. Of several the newest of one session are
    taken; if there is no such session, the newest of each.

    Args:
        evidence: the raw samples of a row by its id, as :meth:`ResultStore.evidence` gives them.

    Raises:
        TableError: there is no pair, or both are the same rows.
    """
    pairs = pair_up(before.rows, after.rows, varies)
    if not pairs and {row.id for row in before.rows} == {row.id for row in after.rows}:
        raise TableError(f"{before.text} and {after.text} choose the same rows: there is nothing to compare")
    if not pairs:
        fields = [name for name in PAIRED_BY if name not in varies]
        raise TableError(
            f"no row of {before.text} and row of {after.text} are alike in {', '.join(fields)}: nothing can be compared"
        )
    return tuple(compare_rows(evidence, one, other, varies) for one, other in pairs)


def pair_up(before: Iterable[Result], after: Iterable[Result], varies: frozenset[str]) -> list[tuple[Result, Result]]:
    """Return rows that are to be compared, in the order in which the later ones were measured."""
    first, second = _by_key(before, varies), _by_key(after, varies)
    pairs = []
    for key in first.keys() & second.keys():
        old = {row.session: row for row in first[key]}
        together = [row for row in second[key] if row.session in old and row.id != old[row.session].id]
        if together:
            pairs.append((old[together[-1].session], together[-1]))
            continue
        later = [row for row in second[key] if row.id not in {one.id for one in first[key]}]
        if later:
            pairs.append((first[key][-1], later[-1]))
    return sorted(pairs, key=lambda pair: (pair[1].created_unix_ns, pair[1].session, pair[1].position))


def compare_rows(evidence: EvidenceOf, before: Result, after: Result, varies: frozenset[str] = frozenset()) -> Pair:
    """Compare two rows in everything that both say."""
    same_session = (before.session, before.physical_device) == (after.session, after.physical_device)
    meant = {"runtime": "runtime", "device": "device", "threads": "threads", "governor": "governor"}
    differs = tuple(name for name in unlike([before, after]) if meant.get(name) not in varies and "*" not in varies)
    changes = [_latency(evidence, before, after, same_session)]
    if before.latency_p95_ns and after.latency_p95_ns:
        changes.append(_p95(before, after, same_session))
    changes.append(_size(before, after))
    if before.peak_rss_bytes and after.peak_rss_bytes:
        changes.append(_memory(before.peak_rss_bytes, after.peak_rss_bytes))
    changes += _metric(before, after)
    return Pair(before, after, same_session, differs, tuple(changes))


def _by_key(rows: Iterable[Result], varies: frozenset[str]) -> dict[tuple[Any, ...], list[Result]]:
    fields = [] if "*" in varies else [name for name in PAIRED_BY if name not in varies]
    keyed: dict[tuple[Any, ...], list[Result]] = {}
    for row in rows:
        keyed.setdefault(tuple(getattr(row, name) for name in fields), []).append(row)
    return keyed


def _latency(evidence: EvidenceOf, before: Result, after: Result, same_session: bool) -> Change:
    if not before.latency_p50_ns:
        return Change("p50", 0, after.latency_p50_ns, True, 1.0, None, None, Verdict.UNKNOWN, why="a p50 of 0")
    point = after.latency_p50_ns / before.latency_p50_ns
    known = Change("p50", before.latency_p50_ns, after.latency_p50_ns, True, point, None, None, Verdict.UNKNOWN)
    if before.emulated or after.emulated:
        return dataclasses.replace(known, why="measured under emulation")
    for row in (before, after):
        if row.is_foreign:
            return dataclasses.replace(known, why=f"{row.origin} left no samples")
        if row.verdict == "implausible":
            return dataclasses.replace(known, why="an implausible row")
    needed = _needed(before, after, same_session)
    ratio = _ratio(_samples(evidence, after), _samples(evidence, before), same_session)
    if ratio is None:
        return dataclasses.replace(known, needed=needed, why="one process says nothing about another")
    verdict, why = _judged((before, after), ratio, needed)
    return dataclasses.replace(
        known, change=ratio.value, low=ratio.low, high=ratio.high, verdict=verdict, needed=needed, why=why
    )


def _judged(rows: Iterable[Result], ratio: Ratio, needed: float) -> tuple[Verdict, str]:
    """The verdict of a latency, and why there is none where a row is not stable."""
    unstable = dict.fromkeys(row.verdict for row in rows if row.verdict != "stable")
    if unstable:
        return Verdict.UNKNOWN, f"a row is {' and '.join(unstable)}"
    if ratio.low > 1 and ratio.value > 1 + needed:
        return Verdict.WORSE, ""
    if ratio.high < 1 and ratio.value < 1 / (1 + needed):
        return Verdict.BETTER, ""
    return Verdict.SAME, ""


def _needed(before: Result, after: Result, same_session: bool) -> float:
    boards = {(row.device, row.physical_device) for row in (before, after)}
    if same_session:
        return max(threshold_of(session_floor(*board)) for board in boards)
    return max(MATERIAL, *(noise_floor(*board) for board in boards))


def _samples(evidence: EvidenceOf, row: Result) -> Mapping[int, Sequence[int]]:
    """What makes the headline, by round."""
    seen = evidence(row.id)
    return samples_by_round(seen.run, seen.states, fixed_clock_hz(seen.facts))


def _ratio(above: Mapping[int, Sequence[int]], below: Mapping[int, Sequence[int]], same_session: bool) -> Ratio | None:
    if min(len(above), len(below)) < 2:
        return None
    is_paired = same_session and above.keys() == below.keys()
    return (paired_ratio if is_paired else independent_ratio)(list(above.values()), list(below.values()))


def _p95(before: Result, after: Result, same_session: bool) -> Change:
    """By the stored intervals: both ends of one over the opposite ends of the other are wider than 95 %."""
    assert before.latency_p95_ns is not None
    assert after.latency_p95_ns is not None
    change = after.latency_p95_ns / before.latency_p95_ns
    old_bounds = (before.latency_p95_low_ns, before.latency_p95_high_ns)
    bounds = (*old_bounds, after.latency_p95_low_ns, after.latency_p95_high_ns)
    known = Change("p95", before.latency_p95_ns, after.latency_p95_ns, True, change, None, None, Verdict.UNKNOWN)
    if before.emulated or after.emulated or not all(bounds):
        return known
    old_low, old_high, new_low, new_high = (float(bound or 1) for bound in bounds)
    low, high = new_low / old_high, new_high / old_low
    needed = _needed(before, after, same_session)
    verdict, why = _judged((before, after), Ratio(change, low, high), needed)
    return dataclasses.replace(known, low=low, high=high, verdict=verdict, needed=needed, why=why)


def _size(before: Result, after: Result) -> Change:
    old, new = before.tflite_bytes, after.tflite_bytes
    verdict = Verdict.WORSE if new > old else Verdict.BETTER if new < old else Verdict.SAME
    return Change("size", old, new, True, new / old if old else 1.0, None, None, verdict)


def _memory(before_bytes: int, after_bytes: int) -> Change:
    change = after_bytes / before_bytes
    verdict = Verdict.SAME
    if change > 1 + MATERIAL:
        verdict = Verdict.WORSE
    elif change < 1 / (1 + MATERIAL):
        verdict = Verdict.BETTER
    return Change("peak memory", before_bytes, after_bytes, True, change, None, None, verdict, MATERIAL)


def _metric(before: Result, after: Result) -> list[Change]:
    """The board's metric, on the same data; the host's where a board has none."""
    if before.metric is None or after.metric is None:
        return []
    is_board = before.metric_value_board is not None and after.metric_value_board is not None
    (old, old_low, old_high), (new, new_low, new_high) = _stated(before, is_board), _stated(after, is_board)
    if old is None or new is None:
        return []
    known = Change(after.metric, old, new, False, new - old, None, None, Verdict.UNKNOWN)
    if (before.metric, before.data_sha256, before.metric_samples) != (
        after.metric,
        after.data_sha256,
        after.metric_samples,
    ):
        return [dataclasses.replace(known, why="judged on other data")]
    if old_low is None or old_high is None or new_low is None or new_high is None:
        return [known]
    # MOVER (Zou and Donner 2008; for proportions Newcombe 1998, method 10): the interval of a difference from those
    # of its parts. Both models saw the same samples, so the true interval is narrower.
    difference = new - old
    low = difference - ((new - new_low) ** 2 + (old_high - old) ** 2) ** 0.5
    high = difference + ((new_high - new) ** 2 + (old - old_low) ** 2) ** 0.5
    is_up = Verdict.BETTER if after.metric_higher_is_better else Verdict.WORSE
    is_down = Verdict.WORSE if after.metric_higher_is_better else Verdict.BETTER
    verdict = is_up if low > 0 else is_down if high < 0 else Verdict.SAME
    return [dataclasses.replace(known, low=low, high=high, verdict=verdict)]


def _stated(row: Result, is_board: bool) -> tuple[float | None, float | None, float | None]:
    if is_board:
        return row.metric_value_board, row.metric_low_board, row.metric_high_board
    return row.metric_value_host, row.metric_low_host, row.metric_high_host
