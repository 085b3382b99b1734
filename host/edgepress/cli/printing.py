"""Results as text on stdout."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgepress.artifacts import Artifact
    from edgepress.benchmarking.comparison import Comparison
    from edgepress.benchmarking.operators import OperatorProfile
    from edgepress.boards import Outcome
    from edgepress.diagnosing import Debugged
    from edgepress.inference import Answer
    from edgepress.table.layout import Layout
    from edgepress.table.result import Result
    from edgepress_agent.protocol.messages import DeviceFacts
    from edgepress_converters.model import TensorSpec, TFLiteModel

_CLASSES = 20


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_rows(rows: Sequence[Result], format: Any = "text", layout: Layout | None = None) -> None:
    """Print rows of the table: drawn on a terminal, plain elsewhere."""
    if format == "text" and sys.stdout.isatty():
        from rich.console import Console

        from edgepress.table.terminal import ResultTable

        Console().print(ResultTable(rows, layout))
        return
    from edgepress.table.render import render

    click.echo(render(rows, format, layout))


def finish(outcome: Outcome, as_json: bool) -> None:
    """Print what a measuring command gave; exit with 1 if something failed.

    Raises:
        click.exceptions.Exit: something failed.
    """
    if as_json:
        print_json(outcome.as_json())
    else:
        print_rows(outcome.rows)
    for failure in outcome.failures:
        click.echo(f"error: {failure.candidate} on {failure.device}: {failure.error}", err=True)
    if outcome.failures:
        raise click.exceptions.Exit(1)


def print_comparison(outcome: Outcome, comparison: Comparison, as_json: bool) -> None:
    """Print two rows and what they say of each other."""
    import dataclasses

    if as_json:
        print_json({**outcome.as_json(), "comparison": dataclasses.asdict(comparison)})
        return
    print_rows(outcome.rows)
    ratio, floor = comparison.ratio, comparison.floor
    word = {"slower": "B is slower than A", "faster": "B is faster than A"}.get(comparison.claim, str(comparison.claim))
    click.echo(
        f"\nB / A = {ratio.value:.3f} (95 % interval {ratio.low:.3f} to {ratio.high:.3f}): {word}. A claim needs two "
        f"stable rows, an interval without 1 and more than {comparison.threshold:.1%}"
        + (f" (the device's own floor is {floor:.1%})." if floor is not None else ".")
    )
    if floor is None:
        click.echo("The device was never calibrated: `edgepress device calibrate NAME FILE` measures its floor.")
    shaky = sorted({row.verdict for row in outcome.rows if row.verdict != "stable"})
    if shaky:
        click.echo(f"A row is {' and '.join(shaky)}; the notes say why, and what helps.")


def print_operators(profile: OperatorProfile) -> None:
    """Print the operators of a model with their times, and by how much they miss the whole."""
    from edgepress.table.inert import printable

    click.echo(f"{profile.model} on {profile.device}, {profile.way}")
    click.echo(f"{'':>3} {'operator':24} {'time':>12} {'share':>6} {'MACs':>12}  {'delegate':9} output")
    for one in profile.operators:
        time = "-" if one.time_ns is None else f"{one.time_ns / 1e3:,.1f} us"
        share = "-" if one.share is None else f"{one.share:.1%}"
        name = printable(one.output if one.failure is None else f"{one.output}: {one.failure}")
        delegate = "XNNPACK" if one.is_delegated else "none"
        macs = f"{one.macs:,}" if one.macs else "-"
        click.echo(f"{one.index:3} {printable(one.kind):24} {time:>12} {share:>6} {macs:>12}  {delegate:9} {name[:60]}")
    kinds: dict[str, int] = {}
    for one in profile.operators:
        kinds[one.kind] = kinds.get(one.kind, 0) + (one.time_ns or 0)
    for kind, time_ns in sorted(kinds.items(), key=lambda pair: -pair[1]):
        click.echo(f"{printable(kind):28} {time_ns / 1e3:>12,.1f} us {time_ns / max(1, profile.sum_ns):>6.1%}")
    click.echo(
        f"operators together {profile.sum_ns / 1e3:,.1f} us, the whole model {profile.whole_ns / 1e3:,.1f} us: they "
        f"miss it by {profile.miss:+.1%} (each alone, less {profile.call_ns / 1e3:.1f} us for the call; "
        "the whole runs as "
        f"{profile.delegate_nodes or 'no'} delegated part{'s' * (profile.delegate_nodes != 1)})"
    )
    failed = sum(one.time_ns is None for one in profile.operators)
    if failed:
        click.echo(
            f"{failed} of {len(profile.operators)} operators could not be run alone: their time is missing there"
        )
    if profile.emulated:
        click.echo("Emulated: the times say nothing about real hardware.")
    elif profile.doubts:
        click.echo(f"The whole's measurement is {profile.verdict}: {'; '.join(profile.doubts)}")


def print_artifact(artifact: Artifact) -> None:
    """Print what each compression step changed and left alone, and where the files are."""
    report = artifact.report
    click.echo(f"{artifact.name} ({artifact.recipe_id}) -> {artifact.directory}")
    metric = report["metric"]
    for entry in report["compression"]["entries"]:
        click.echo(
            f"  {entry['kind']}: {entry['parameters_before']:,} -> {entry['parameters_after']:,} parameters, "
            f"{entry['macs_before']:,} -> {entry['macs_after']:,} MACs, validation {metric} "
            f"{entry['metric_before']:.4f} -> {entry['metric_after']:.4f} ({entry['duration_s']:.1f} s)"
        )
        for change in entry["changed"]:
            click.echo(f"    {change['layer']}: {change['what']}")
        for skip in entry["skipped"]:
            click.echo(f"    {skip['layer']}: left alone, {skip['why']}")
        for note in entry["notes"]:
            click.echo(f"    note: {note}")
    for note in [*report["compression"]["notes"], *report["data_notes"]]:
        click.echo(f"  note: {note}")
    compression = report["compression"]
    _print_classes(compression["classes"])
    click.echo(
        f"  weights {compression['weight_bytes_before']:,} -> {compression['weight_bytes_after']:,} bytes; peak "
        f"activation memory by the graph, float32: {compression['peak_activation_bytes_before']:,} -> "
        f"{compression['peak_activation_bytes_after']:,} bytes"
    )
    size = report["tflite"]["size_bytes"]
    kinds = ", ".join(report["tflite"]["computes_in_float"])
    left = f"; computes in float: {kinds}" if kinds else ""
    click.echo(f"  model.tflite: {report['conversion']['format']}, {size:,} bytes{left}")


def _print_classes(classes: list[dict[str, Any]]) -> None:
    """Print the scores of each class; of many, those of the worst."""
    if not classes:
        return
    from edgepress.table.inert import printable

    which = "by class"
    if len(classes) > _CLASSES:
        which = f"the worst {_CLASSES} of {len(classes)} classes"
        classes = sorted(classes, key=lambda one: float(one["f1"]))[:_CLASSES]
    click.echo(f"  {'validation, ' + which:32} {'samples':>8} {'precision':>9} {'recall':>7} {'F1':>7}")
    for one in classes:
        click.echo(
            f"    {printable(one['label'])[:30]:30} {one['samples']:8} {one['precision']:9.4f} {one['recall']:7.4f} "
            f"{one['f1']:7.4f}"
        )


def print_tflite(model: TFLiteModel, as_json: bool) -> None:
    """Print what a TFLite file says about itself."""
    import dataclasses

    from edgepress_converters import runtimes
    from edgepress_converters.composition import composition

    parts = composition(model.path)
    fits = {f"{name} {version}": runtimes.incompatibilities(model, name, version) for name, version in runtimes.known()}
    if as_json:
        document = {**dataclasses.asdict(model), "path": str(model.path)}
        loading = {name: list(why) for name, why in fits.items()}
        print_json({"schema": 1, "model": document, "bytes": parts, "runtimes": loading})
        return
    click.echo(f"{model.path}: {model.size_bytes:,} bytes, sha256 {model.sha256}")
    shares = (f"{part} {size:,} ({size / model.size_bytes:.0%})" for part, size in parts.items())
    click.echo("bytes  " + ", ".join(shares))
    for title, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            click.echo(f"{title}  {_tensor(tensor)}")
    click.echo(f"{'operator':28} {'version':>7} {'count':>5} {'constants':>14}")
    for operator in sorted(model.operators, key=lambda o: -o.constant_bytes):
        click.echo(f"{operator.name:28} {operator.version:7} {operator.count:5} {operator.constant_bytes:8,} bytes")
    if any(kind in ("INT8", "INT16") for kind, _ in model.tensor_types) and model.float_operators:
        kinds = Counter(operator.kind for operator in model.float_operators)
        click.echo("computes in float  " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    click.echo("tensors  " + ", ".join(f"{count} {kind}" for kind, count in model.tensor_types))
    for name, why in fits.items():
        click.echo(f"{name}: " + ("can run it" if not why else "cannot run it: " + "; ".join(why)))
    if any(fits.values()):
        click.echo(runtimes.remedy(model))
    if slow := runtimes.slowness(model, "tflite-runtime"):
        click.echo(slow)


def print_debugged(found: Debugged) -> None:
    """Print the layers, the worst first, and why they are."""
    from edgepress.compression.quantization.diagnosis import HARMFUL
    from edgepress.table.inert import printable

    change = found.metric_int8 - found.metric_float
    click.echo(
        f"{found.model}: validation {found.metric} {found.metric_float:.4f} in float, {found.metric_int8:.4f} in int8 "
        f"({change:+.4f})"
    )
    ranked = found.diagnosis.ranked
    width = max((len(printable(one.layer)) for one in ranked), default=0)
    click.echo(f"{'layer':{width}}  {'local':>8} {'SNR':>8} {'cumulative':>10}")
    for one in ranked:
        kind = f"  {one.cause.kind}" if one.cause else ""
        click.echo(
            f"{printable(one.layer):{width}}  {one.local:8.2%} {one.local_snr_db:5.1f} dB {one.cumulative:10.2%}{kind}"
        )
    for cause in found.causes:
        click.echo(f"{cause.kind}: {printable(cause.what)}. What may help: {cause.remedy}")
    if not found.causes:
        click.echo(f"no cause: none is known, or looked for below a local error of {HARMFUL:.0%}")
    for skip in found.left:
        click.echo(f"stays float: {printable(skip.layer)}: {printable(skip.why)}")


def print_answer(answer: Answer, top: int) -> None:
    """Print the best labels and the time."""
    for label, value in answer.ranked(top):
        click.echo(f"{label:20} {value:.4f}")
    click.echo(f"{answer.latency_ns / 1e6:.3f} ms on {answer.device} ({answer.runtime}; one run in a fresh process)")


def print_facts(facts: DeviceFacts) -> None:
    """Print what the agent read on a board."""
    lines = {
        "board": facts.model,
        "cpu": f"{facts.cpu_count} x {facts.cpu_model or ', '.join(facts.cpu_parts) or facts.machine}",
        "architecture": f"{facts.machine}, {facts.pointer_bits}-bit userland",
        "memory": f"{facts.memory_total_bytes / 2**20:,.0f} MiB",
        "disk free": f"{facts.disk_free_bytes / 2**20:,.0f} MiB",
        "system": f"{facts.os_id} {facts.os_version}, kernel {facts.kernel}, {facts.libc}",
        "python": facts.python_version + ("" if facts.has_venv else " (without venv)"),
        "governor": facts.governor,
        "temperature": None if facts.temperature_c is None else f"{facts.temperature_c:.1f} C",
        "physical id": facts.physical_id and f"{facts.physical_id[:12]} (from {facts.physical_id_source})",
        "emulated": "yes: its times say nothing about real hardware" if facts.emulated else None,
        "runtimes": ", ".join(f"{r.name} {r.version}" for r in facts.runtimes) or "none",
    }
    for name, value in lines.items():
        if value is not None:
            click.echo(f"  {name:13} {value}")


def _tensor(tensor: TensorSpec) -> str:
    quantized = "" if tensor.scale is None else f", scale {tensor.scale:.6g}, zero point {tensor.zero_point}"
    return f"{tensor.name}: {tensor.dtype} {list(tensor.shape)}{quantized}"
