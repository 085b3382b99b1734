"""Comparisons, regressions and histories for people: plain text and Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from edgepress.table.comparison import Change, Pair, Verdict
from edgepress.table.history import Series, sparkline
from edgepress.table.inert import brief, markdown_cell, printable
from edgepress.table.regression import Finding, Outcome, Regression
from edgepress.table.result import Result
from edgepress.table.units import format_duration, format_metric, format_size, is_fraction, three_digits

_WORDS = {
    ("p50", Verdict.BETTER): "faster",
    ("p50", Verdict.WORSE): "slower",
    ("p95", Verdict.BETTER): "faster",
    ("p95", Verdict.WORSE): "slower",
    ("size", Verdict.BETTER): "smaller",
    ("size", Verdict.WORSE): "larger",
    ("size", Verdict.SAME): "the same",
    ("peak memory", Verdict.BETTER): "less",
    ("peak memory", Verdict.WORSE): "more",
}
_SIGNS = {Outcome.FINE: "✅", Outcome.REGRESSION: "❌", Outcome.NOISE: "⚠️", Outcome.UNJUDGED: "❔"}


def pairs_as_text(pairs: Sequence[Pair]) -> str:
    """One block for each pair."""
    return "\n\n".join(_pair_as_text(pair) for pair in pairs)


def pairs_as_markdown(pairs: Sequence[Pair]) -> str:
    """One table for each pair."""
    blocks = []
    for pair in pairs:
        lines = [
            f"**{markdown_cell(_title(pair))}**",
            "",
            *_markdown_table(_HEADER, [_cells(c, pair) for c in pair.changes]),
        ]
        lines += ["", *(f"- {markdown_cell(remark)}" for remark in _remarks(pair))]
        blocks.append("\n".join(lines).rstrip())
    return "\n\n".join(blocks)


def regression_as_text(regression: Regression) -> str:
    """For a terminal."""
    lines = _aligned([_REGRESS_HEADER, *(_finding_cells(finding) for finding in regression.findings)])
    return "\n".join([*lines, *map(printable, _regression_remarks(regression)), _conclusion(regression)])


def regression_as_markdown(regression: Regression) -> str:
    """A comment for a pull request."""
    lines = [f"### edgepress: {_conclusion(regression)}", ""]
    cells = [_finding_cells(finding, with_sign=True) for finding in regression.findings]
    lines += _markdown_table(_REGRESS_HEADER, cells)
    remarks = _regression_remarks(regression)
    if remarks:
        lines += ["", *(f"- {markdown_cell(remark)}" for remark in remarks)]
    return "\n".join(lines)


def history_as_text(series: Series) -> str:
    """A line with bars, and a line for each step."""
    rows = series.rows
    first, last = rows[0], rows[-1]
    bars = sparkline([row.latency_p50_ns for row in rows])
    lines = [
        printable(series.name),
        f"  {bars}  {format_duration(last.latency_p50_ns)}   {len(rows)} measurements, {first.created_at:%Y-%m-%d} to "
        f"{last.created_at:%Y-%m-%d}, {format_duration(min(r.latency_p50_ns for r in rows))} to "
        f"{format_duration(max(r.latency_p50_ns for r in rows))}",
    ]
    for step in series.steps:
        changed = "; ".join(f"{name} {brief(old)} → {brief(new)}" for name, old, new in step.changed)
        lines.append(
            f"  step of {100 * (step.ratio - 1):+.1f}% at {step.at.created_at:%Y-%m-%d %H:%M}: "
            + printable(changed or "nothing that a row knows has changed")
        )
    return "\n".join(lines)


# What goes without saying where both rows have it.
_USUAL = (_NO_RECIPE, _ONE_THREAD, _NO_COMMIT) = ("no recipe", "1 thread", "no commit")
_HEADER = ["", "before", "after", "change", "95% interval", "verdict"]
_REGRESS_HEADER = ["", "what", "metric", "before", "after", "change", "95% interval", "limit"]


def _pair_as_text(pair: Pair) -> str:
    lines = [printable(_title(pair)), *_aligned([_HEADER, *(_cells(change, pair) for change in pair.changes)])]
    return "\n".join([*lines, *(printable(remark) for remark in _remarks(pair))])


def _title(pair: Pair) -> str:
    before, after = _names(pair.before), _names(pair.after)
    same = [name for name, other in zip(before, after, strict=True) if name == other]
    changed = [f"{name} → {other}" for name, other in zip(before, after, strict=True) if name != other]
    return " · ".join([*changed, *(name for name in same if name not in _USUAL)])


def _names(row: Result) -> tuple[str, ...]:
    commit = f"commit {row.project_commit[:7]}{'+' if row.project_dirty else ''}" if row.project_commit else _NO_COMMIT
    threads = _ONE_THREAD if row.threads == 1 else f"{row.threads} threads"
    return (row.model, row.recipe or _NO_RECIPE, row.device, f"{row.runtime} {row.runtime_version}", threads, commit)


def _cells(change: Change, pair: Pair) -> list[str]:
    word = _WORDS.get((change.metric, change.verdict), str(change.verdict))
    verdict = f"{word} ({change.why})" if change.why else word
    return [change.metric, *_values(change, pair.after), verdict]


def _values(change: Change, row: Result) -> list[str]:
    bounds = f"{_amount(change, change.low, row)} to {_amount(change, change.high, row)}"
    return [
        _value(change, change.before),
        _value(change, change.after),
        _amount(change, change.change, row),
        "" if change.low is None else bounds,
    ]


def _value(change: Change, value: float) -> str:
    if change.metric in ("p50", "p95"):
        return format_duration(round(value))
    if change.metric in ("size", "peak memory"):
        return format_size(round(value))
    return format_metric(value, change.metric)


def _amount(change: Change, value: float | None, row: Result) -> str:
    if value is None:
        return ""
    if change.is_ratio:
        return f"{value:.3f}x" if 0.1 <= value < 10 else f"{three_digits(value)}x"
    return f"{100 * value:+.2f} pp" if is_fraction(row.metric or "") else f"{value:+.4g}"


def _remarks(pair: Pair) -> list[str]:
    remarks = []
    if pair.same_session:
        remarks.append("measured interleaved in one session; less than 2% is called no difference")
    else:
        p50 = pair.change("p50")
        needed = f"{p50.needed:.1%}" if p50 is not None and p50.needed is not None else "the noise floor"
        remarks.append(
            f"crosses sessions ({pair.before.created_at:%Y-%m-%d %H:%M} and {pair.after.created_at:%Y-%m-%d %H:%M} "
            f"UTC): latencies must differ by more than {needed}, the noise between sessions"
        )
    if pair.differs:
        remarks.append(f"not measured alike: {', '.join(pair.differs)} differ")
    return remarks


def _finding_cells(finding: Finding, with_sign: bool = False) -> list[str]:
    row = finding.pair.after
    name = " · ".join(
        filter(None, (row.model, row.recipe, row.device, "" if row.threads == 1 else f"{row.threads} threads"))
    )
    limit = (
        f"{finding.limit:.1%}" if finding.change.is_ratio else _amount(finding.change, finding.limit, row).lstrip("+")
    )
    outcome = f"{_SIGNS[finding.outcome]} {finding.outcome}" if with_sign else str(finding.outcome)
    return [outcome, printable(name), finding.change.metric, *_values(finding.change, row), limit]


def _regression_remarks(regression: Regression) -> list[str]:
    remarks = [f"the outputs of {row.model} {row.recipe or ''} on {row.device} are wrong" for row in regression.wrong]
    remarks += sorted({f"{finding.change.metric}: {finding.why}" for finding in regression.findings if finding.why})
    if any(not finding.pair.same_session for finding in regression.findings):
        remarks.append("baseline and candidate are of different sessions")
    remarks += [
        f"in the baseline only: {row.model} {row.recipe or ''} on {row.device}, {row.threads} thread(s)"
        for row in regression.missing
    ]
    return remarks


def _conclusion(regression: Regression) -> str:
    bad = sum(finding.outcome is Outcome.REGRESSION for finding in regression.findings) + len(regression.wrong)
    if bad:
        return f"{bad} regression{'s' if bad != 1 else ''}"
    unsure = sum(finding.outcome in (Outcome.NOISE, Outcome.UNJUDGED) for finding in regression.findings)
    return "no regression" + (f", {unsure} of {len(regression.findings)} not decided" if unsure else "")


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(markdown_cell(cell) for cell in cells)} |"

    return [line(header), line(["---"] * len(header)).replace("\\", ""), *(line(row) for row in rows)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, cells)) for cells in zip(*shown, strict=True)]
    return [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]
