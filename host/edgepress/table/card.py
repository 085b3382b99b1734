"""A model card: what a model is, how it was made, and what each board really does with it. Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgepress.errors import TableError
from edgepress.table.conditions import conditions_of, group_alike
from edgepress.table.inert import markdown_cell
from edgepress.table.layout import Layout
from edgepress.table.marks import marks, metric_value
from edgepress.table.render import render
from edgepress.table.result import Result
from edgepress.table.units import format_duration, format_metric, format_size

if TYPE_CHECKING:
    from edgepress.table.store import ResultStore


def model_card(store: ResultStore, rows: Sequence[Result]) -> str:
    """Return the card of rows of one model: the newest of each recipe, training seed and set of conditions.

    Raises:
        TableError: there are no rows, or they are of several models.
    """
    names = sorted({row.model for row in rows})
    if not names:
        raise TableError("no row of such a model; `edgepress table` prints what there is")
    if len(names) > 1:
        raise TableError(f"several models have such a name: {', '.join(names)}; give one of them whole")
    newest = list({(row.recipe, row.training_seed, *conditions_of(row)): row for row in rows}.values())
    sections = [
        f"# {markdown_cell(names[0])}",
        _summary(newest),
        "## Recipes\n\n" + _recipes(store, newest),
        "## Results by device\n\n" + render(newest, "markdown", Layout(sort="p50")),
        "## How this was measured\n\n" + _method(store, newest),
    ]
    return "\n\n".join(sections)


def _summary(rows: Sequence[Result]) -> str:
    sources = {row.source_sha256 for row in rows if row.source_sha256}
    lines = []
    if sources:
        lines.append(f"- Keras model: sha256 {', '.join(map(markdown_cell, sorted(sources)))}")
    for data in sorted({row.data_sha256 for row in rows if row.data_sha256}):
        judged = [row for row in rows if row.data_sha256 == data and row.metric]
        if judged:
            metric = markdown_cell(judged[0].metric or "")
            lines.append(
                f"- Data: sha256 {markdown_cell(data)}; {metric} on {judged[0].metric_samples} held-out test samples"
            )
    for group in group_alike(rows):
        found = marks(group)
        lines += [_best(row) for row in group if "fastest" in found.get(row.id, ())]
    return "\n".join(lines)


def _best(row: Result) -> str:
    value, metric = metric_value(row), row.metric or ""
    quality = "" if value is None else f"{format_metric(value, metric)} {markdown_cell(metric)}, "
    threads = "" if row.threads == 1 else f" with {row.threads} threads"
    return (
        f"- Fastest on {markdown_cell(row.device)}{threads}: {markdown_cell(row.recipe or row.model)}, "
        f"{format_duration(row.latency_p50_ns)}, {quality}{format_size(row.tflite_bytes)}"
    )


def _recipes(store: ResultStore, rows: Sequence[Result]) -> str:
    by_recipe = {row.recipe_id: row for row in rows if row.recipe is not None and not row.is_foreign}
    if not by_recipe:
        return "Measured as it came: no recipe of edgepress made it."
    return "\n".join(_recipe(row, store.evidence(row.id).compression or {}) for row in by_recipe.values())


def _recipe(row: Result, compression: Mapping[str, Any]) -> str:
    recipe = compression.get("recipe") or {}
    report = compression.get("compression") or {}
    described = recipe.get("description") or ""
    steps = [str(entry.get("kind")) for entry in report.get("entries", ())]
    form = (recipe.get("convert") or {}).get("format")
    how = " → ".join([*steps, f"convert to {form}"] if form else steps)
    parameters = ""
    if "parameters_before" in report:
        parameters = f"; {report['parameters_before']:,} → {report['parameters_after']:,} parameters"
    text = f"- **{markdown_cell(row.recipe or '')}** ({markdown_cell(row.recipe_id or '')}): {markdown_cell(described)}"
    return text + (f" {markdown_cell(how)}{parameters}." if how else "")


def _method(store: ResultStore, rows: Sequence[Result]) -> str:
    lines = []
    for device in sorted({row.device for row in rows}):
        row = next(row for row in reversed(rows) if row.device == device)
        board = row.board_model or row.cpu_model or "a board that does not say what it is"
        software = ", ".join(filter(None, (row.os, f"kernel {row.kernel}" if row.kernel else None, row.libc)))
        if row.is_foreign:
            lines.append(
                f"- **{markdown_cell(device)}**: measured by {markdown_cell(row.origin)}; nothing was checked."
            )
            continue
        plan = store.evidence(row.id).plan
        emulated = " **Emulated: its times say nothing about real hardware.**" if row.emulated else ""
        lines.append(
            f"- **{markdown_cell(device)}**: {markdown_cell(board)}; {markdown_cell(software)}; "
            f"{markdown_cell(row.runtime)} {markdown_cell(row.runtime_version)}, {row.threads} thread(s), governor "
            f"{markdown_cell(row.governor or 'unknown')}. Plan {markdown_cell(plan.name)}: {plan.processes} fresh "
            f"processes interleaved with the other models, at least {plan.min_runs} timed inferences each, on "
            f"{row.created_at:%Y-%m-%d}.{emulated}"
        )
    lines += [
        "- p50 and its ± are the median of all inferences and its 95 % interval, bootstrapped over processes. The "
        "metric is computed from the board's own outputs on held-out data, with a 95 % interval.",
        "- `output check` compares the board's outputs with those of this file on the workstation; `verdict` says "
        "whether the latency can be believed.",
    ]
    commits = sorted({row.project_commit for row in rows if row.project_commit})
    if commits:
        lines.append(f"- Project commit: {', '.join(map(markdown_cell, commits))}.")
    return "\n".join(lines)
