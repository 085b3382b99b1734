"""``edgepress regress``."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import click

from edgepress.cli import options

REGRESSION_EXIT_CODE = 3
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(%|pp)?")


def _amount(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    del context, parameter
    if value is None:
        return None
    match = _AMOUNT.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is no amount such as 3%, 0.5pp or 0.005")
    return float(match[1]) / (100 if match[2] else 1)


@click.command(
    epilog="Example: edgepress regress --baseline commit:1a2b3c4 --max-latency-increase 3% --max-accuracy-drop 0.5pp"
)
@click.option(
    "--baseline", required=True, metavar="ROWS|FILE", help="As in 'edgepress compare', or an exported archive."
)
@click.option("--candidate", default="newest", show_default=True, metavar="ROWS", help="What is held against it.")
@click.option("--max-latency-increase", metavar="3%", callback=_amount, help="Of the p50.")
@click.option("--max-accuracy-drop", metavar="0.5pp", callback=_amount, help="Of the metric, in its own unit.")
@click.option("--max-size-increase", metavar="1%", callback=_amount, help="Of the .tflite file.")
@click.option("--max-memory-increase", metavar="5%", callback=_amount, help="Of the peak memory.")
@click.option(
    "--comment",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a Markdown comment for a pull request here.",
)
@options.database
@options.as_json
def regress(
    baseline: str,
    candidate: str,
    max_latency_increase: float | None,
    max_accuracy_drop: float | None,
    max_size_increase: float | None,
    max_memory_increase: float | None,
    comment: Path | None,
    db: str | None,
    as_json: bool,
) -> None:
    """Hold the newest rows against a baseline; exit with 3 when something got worse than allowed.

    A latency counts only where it exceeds the noise as well, and both rows are stable. Exit codes: 0 no regression, 3 a
    regression, 1 nothing could be compared, or something that is limited was judged of no pair.
    """
    from edgepress.cli import printing
    from edgepress.table import comparison_text
    from edgepress.table.regression import Limits, find_regressions
    from edgepress.table.selection import select, varied
    from edgepress.table.store import ResultStore

    limits = Limits(max_latency_increase, max_size_increase, max_memory_increase, max_accuracy_drop)
    if limits == Limits():
        raise click.UsageError("give at least one limit, such as --max-latency-increase 3%")
    with ExitStack() as opened:
        store = opened.enter_context(ResultStore.open(db))
        chosen = select(store, candidate)
        if Path(baseline).is_file():
            from edgepress.table.archive import opened_archive

            archive = opened.enter_context(opened_archive(Path(baseline)))
            before, varies = archive.rows(), frozenset[str]()
            ids = {row.id for row in before}
            regression = find_regressions(
                lambda row_id: archive.evidence(row_id) if row_id in ids else store.evidence(row_id),
                before,
                chosen.rows,
                limits,
            )
        else:
            base = select(store, baseline)
            varies = varied(base, chosen)
            regression = find_regressions(store.evidence, base.rows, chosen.rows, limits, varies)
    if comment is not None:
        comment.write_text(comparison_text.regression_as_markdown(regression) + "\n", encoding="utf-8")
    if as_json:
        printing.print_json(regression.as_json())
    else:
        click.echo(comparison_text.regression_as_text(regression))
    if regression.failed:
        raise click.exceptions.Exit(REGRESSION_EXIT_CODE)
