"""VGG16 and ResNet50 by Tucker-2 at half rank: latency of each layer and of all, size, memory.

Weights are random (latency does not depend on them; of accuracy nothing is said), pictures 112x112, without the Dense
layers at the end. Every convolution larger than 1x1 with 16 input channels or more becomes three, at half of its input
and of its output channels, where that takes fewer multiply-accumulates. Both files are measured against each other in
one session, and every operator of both alone, as ``edgepress profile`` does. Resumable: each session is a line of JSON.

    nice python benchmarks/factorization.py run --seconds 300
    python benchmarks/factorization.py table > benchmarks/results/factorization.md
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from platformdirs import user_cache_path

from edgepress.benchmarking import session
from edgepress.benchmarking.comparison import compare_runs
from edgepress.benchmarking.operators import profile_operators
from edgepress.benchmarking.plans import PLANS
from edgepress.benchmarking.session import Way
from edgepress.benchmarking.statistics import summarize
from edgepress.conversion import convert_model, inspect
from edgepress.devices.device import Device
from edgepress.models import import_keras
from edgepress_converters.options import ConversionOptions, Format
from edgepress_converters.pool import WorkerPool

if TYPE_CHECKING:
    from edgepress.benchmarking.operators import OperatorProfile
    from edgepress_agent.protocol.messages import RunReport
    from edgepress_converters.model import TFLiteModel

LINES = Path(__file__).parent / "results" / "factorization.jsonl"
FOLDER = user_cache_path("edgepress") / "benchmarks" / "factorization"
NETS = ("VGG16", "ResNet50")
TOGETHER, VERSIONS = "together", ("whole", "tucker2")
FORMATS: tuple[Format, ...] = ("float32", "int8")
LEAST_CHANNELS = 16
CALIBRATION = 4
SIDE = 112
PLAN = replace(
    PLANS["quick"], name="factorization", processes=10, warmup_min_runs=2, min_runs=5, steady_warmup_max_ns=300_000_000
)

Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing after so many")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "table":
        sys.stdout.write("\n".join(table(read_lines())) + "\n")
        return
    deadline = time.monotonic() + arguments.seconds
    known = {(line["part"], line["net"], line["format"]) for line in read_lines()}
    for part in (TOGETHER, *VERSIONS):
        for format in FORMATS:
            for net in NETS:
                if (part, net, format) not in known and time.monotonic() < deadline:
                    line = measured(part, net, format)
                    with LINES.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")


def read_lines() -> list[Line]:
    return [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()] if LINES.exists() else []


def measured(part: str, net: str, format: Format) -> Line:
    """Both files against each other, or the operators of one of them."""
    layers = files(net, format)
    models = [inspect(FOLDER / f"{net}-{name}-{format}.tflite") for name in VERSIONS]
    with Device.open("local") as device:
        way = Way(device.runtime("ai-edge-litert"))
        facts = device.facts
        if part == TOGETHER:
            report = session.measure_setups(device, [(model, way) for model in models], PLAN)
            found = of_session(models, [session.require_samples(run, device.name) for run in report.runs])
            session.acknowledge(device, report)
        else:
            profile = profile_operators(device, models[VERSIONS.index(part)], way)
            found = {"miss": profile.miss, "layers_ns": {x["name"]: time_of(x["name"], profile) for x in layers}}
    return {
        "part": part,
        "net": net,
        "format": format,
        **found,
        "layers": layers,
        "machine": f"{facts.cpu_model}, {facts.cpu_count} CPUs, {facts.machine}, Linux {facts.kernel}",
        "runtime": str(way),
        "load": Path("/proc/loadavg").read_text(encoding="ascii").split()[0],
        "measured": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def of_session(models: list[TFLiteModel], runs: list[RunReport]) -> Line:
    comparison = compare_runs(runs[0], runs[1], floor=None)
    found: Line = {"ratio": [comparison.ratio.value, comparison.ratio.low, comparison.ratio.high]}
    for name, model, run in zip(VERSIONS, models, runs, strict=True):
        memory = [process.memory for process in run.processes]
        found[name] = {
            "bytes": model.size_bytes,
            "p50_ns": summarize(run).p50_ns,
            "model_rss_bytes": max(one.peak_rss_bytes - one.import_rss_bytes for one in memory),
        }
    return found


def files(net: str, format: Format) -> list[Line]:
    """Make both files, unless they are there, and say what became of each layer."""
    from edgepress.compression.factorization.tucker import Tucker2
    from edgepress.compression.graph.reader import read
    from edgepress.compression.graph.rebuild import rebuild

    keras = import_keras()
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, net)(
        weights=None, include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )
    graph = read(model)
    replacements, layers = {}, []
    for name, layer in graph.layers().items():
        if type(layer) is not keras.layers.Conv2D or max(layer.kernel_size) == 1:
            continue
        channels, filters = layer.kernel.shape[-2:]
        if channels < LEAST_CHANNELS:
            continue
        tucker = Tucker2(graph, graph.calls(name)[0], None)
        chain = tucker.layers((channels // 2, filters // 2))
        line = {"name": name, "shape": f"{channels} -> {filters}"}
        cost = tucker.cost((channels // 2, filters // 2))
        layers.append({**line, "macs": tucker.whole.macs, "tucker2_macs": cost.macs})
        replacements[name] = chain
    for name, wanted in (("whole", model), ("tucker2", rebuild(graph, replacements))):
        path = FOLDER / f"{net}-{name}-{format}.tflite"
        if not path.exists():
            calibration = [np.random.default_rng(0).normal(size=(CALIBRATION, SIDE, SIDE, 3)).astype(np.float32)]
            with WorkerPool() as pool:  # the names of its tensors say whose operators they are
                convert_model(wanted, path, ConversionOptions(format=format, repack=False), calibration, pool)
    return layers


def time_of(name: str, profile: OperatorProfile) -> int:
    """What the operators of a layer, or of its parts, take together."""
    own = re.compile(rf"(^|[/;]){re.escape(name)}(_low_rank|_core)?(_\d+)?(/|;|$)")
    mine = [operator for operator in profile.operators if own.search(operator.output)]
    return sum(operator.time_ns or 0 for operator in mine if operator.kind == "CONV_2D")


def table(lines: list[Line]) -> list[str]:
    if not lines:
        return ["Nothing was measured yet."]
    known = {(line["part"], line["net"], line["format"]): line for line in lines}
    first = lines[0]
    out = [
        "# Tucker-2 at half rank",
        "",
        "    nice python benchmarks/factorization.py run --seconds 300   # again, until nothing is missing",
        "    python benchmarks/factorization.py table > benchmarks/results/factorization.md",
        "",
        f"- edgepress {version('edgepress')}, {first['runtime']}; {first['machine']}",
        f"- {first['measured']} to {lines[-1]['measured']}, load (1 min) {loads(lines)}",
        "- random weights, 112x112, without Dense layers; ratios with 95 % intervals, of ten rounds in one session",
        "",
        "| network | format | MB | ms, median | MB of memory | Tucker-2: MB | ms | MB of memory | latency |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (part, net, format), line in known.items():
        if part == TOGETHER:
            value, low, high = line["ratio"]
            cells = [cell for name in VERSIONS for cell in summary(line[name])]
            out.append(f"| {net} | {format} | {' | '.join(cells)} | {value:.2f} ({low:.2f} to {high:.2f}) |")
    missing = [
        f"{part} of {net} in {format}"
        for part in (TOGETHER, *VERSIONS)
        for net in NETS
        for format in FORMATS
        if (part, net, format) not in known
    ]
    if missing:
        out += ["", f"Not measured yet: {', '.join(missing)}."]
    for net in NETS:
        for format in FORMATS:
            parts = [known.get((name, net, format)) for name in VERSIONS]
            if parts[0] and parts[1]:
                out += layer_by_layer(parts[0], parts[1])
    return out


def layer_by_layer(whole: Line, tucker: Line) -> list[str]:
    out = [
        "",
        f"## {whole['net']}, {whole['format']}, layer by layer",
        "",
        f"Operators alone, in ms. Together they miss the whole by {whole['miss']:+.1%} and {tucker['miss']:+.1%}: each "
        "file was timed in a session of its own, at what load the machine then had.",
        "",
        "| layer | channels | MMACs | left | ms | Tucker-2: ms | left |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    total = [0, 0]
    for layer in whole["layers"]:
        before, after = (line["layers_ns"][layer["name"]] for line in (whole, tucker))
        total = [total[0] + before, total[1] + after]
        out.append(
            f"| {layer['name']} | {layer['shape']} | {layer['macs'] / 1e6:,.0f} | "
            f"{layer['tucker2_macs'] / layer['macs']:.2f} | {before / 1e6:.2f} | {after / 1e6:.2f} | "
            f"{after / max(1, before):.2f} |"
        )
    out.append(f"| together | | | | {total[0] / 1e6:.2f} | {total[1] / 1e6:.2f} | {total[1] / max(1, total[0]):.2f} |")
    return out


def loads(lines: list[Line]) -> str:
    values = [float(line["load"]) for line in lines]
    return f"{min(values):.1f} to {max(values):.1f}"


def summary(one: Line) -> list[str]:
    return [f"{one['bytes'] / 1e6:.1f}", f"{one['p50_ns'] / 1e6:.1f}", f"{one['model_rss_bytes'] / 1e6:.0f}"]


if __name__ == "__main__":
    main()
