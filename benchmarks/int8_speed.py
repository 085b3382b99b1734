"""How much faster int8 is than float32: MobileNetV2 and ResNet50 on this machine, alternating in one run.

Random weights: latency does not depend on them. Each pair is compared as ``edgepress bench --compare`` does it, in each
runtime that the device ``local`` has; tflite-runtime has fast kernels for float32 only, which the command warns of.

    edgepress device provision local --runtime tflite-runtime    # for the second runtime
    python benchmarks/int8_speed.py                              # files are kept in the cache and not made again
"""

from __future__ import annotations

import argparse
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from edgepress import pipeline
from edgepress.conversion import convert_model
from edgepress.devices.device import Device
from edgepress_converters import runtimes
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.options import ConversionOptions
from edgepress_converters.pool import WorkerPool

FOLDER = Path(platformdirs.user_cache_dir("edgepress")) / "benchmarks"
TABLE = Path(__file__).parent / "results" / "int8_speed.md"
MODELS = {"MobileNetV2": "mobilenet_v2", "ResNet50": "resnet50"}
CALIBRATION = 8
INTEGER_DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "asimddp")  # as Linux calls them: four int8 products an instruction


def dot_products() -> str:
    """What this CPU has for sums of int8 products, which is what int8 kernels are fast by."""
    words = set(Path("/proc/cpuinfo").read_text().split())
    found = [word for word in INTEGER_DOT_PRODUCTS if word in words]
    return f"has {', '.join(found)}" if found else f"has none of {', '.join(INTEGER_DOT_PRODUCTS)}"


def files(name: str) -> tuple[Path, Path]:
    """The model in float32 and int8."""
    paths = [FOLDER / f"{MODELS[name]}-{format}.tflite" for format in ("float32", "int8")]
    if not all(path.exists() for path in paths):
        import keras

        FOLDER.mkdir(parents=True, exist_ok=True)
        model = getattr(keras.applications, name)(weights=None)
        noise = np.random.default_rng(0).random((CALIBRATION, 224, 224, 3), dtype=np.float32)
        with WorkerPool() as pool:
            convert_model(model, paths[0], ConversionOptions("float32"), None, pool)
            convert_model(model, paths[1], ConversionOptions("int8"), (noise,), pool)
    return paths[0], paths[1]


def main() -> None:
    """Compare, and write the table."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    with Device.open("local") as device:
        names = [f"{runtime.name}=={runtime.version}" for runtime in device.runtimes]
    lines = []
    for name in MODELS:
        float32, int8 = files(name)
        for runtime in names:
            outcome, comparison = pipeline.compare(float32, int8, device="local", plan="quick", runtime=runtime)
            by_file = {row.model_sha256: row for row in outcome.rows}
            rows: list[Any] = [by_file[read_model(path).sha256] for path in (float32, int8)]
            ratio = comparison.ratio
            slow = runtimes.slowness(read_model(int8), runtime.partition("==")[0])
            lines.append(
                f"| {name} | {runtime} | {rows[0].latency_p50_ns / 1e6:.2f} | {rows[1].latency_p50_ns / 1e6:.2f} | "
                f"{1 / ratio.value:.2f} ({1 / ratio.high:.2f} to {1 / ratio.low:.2f}) | {comparison.claim} | "
                f"{'warns' if slow else ''} |"
            )
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in ("edgepress", "tensorflow", "keras"))
    load = os.getloadavg()[0]
    text = [
        "# int8 against float32, alternating in one run",
        "",
        "    python benchmarks/int8_speed.py",
        "",
        f"- {versions}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs, Linux "
        f"{platform.release()}; load {load:.1f} at the end",
        "- one thread, 224 x 224 pictures, median latency of an inference in ms; the ratio has its 95 % interval over "
        "rounds of processes",
        f"- this CPU {dot_products()}; the goal, 1.4 to 1.7x (MobileNetV2) and 3x (ResNet50) in ai-edge-litert, is of "
        "a Xeon with AVX512-VNNI",
        "",
        "| model | runtime | float32 | int8 | float32 / int8 | claim for int8 | edgepress |",
        "|---|---|---|---|---|---|---|",
        *lines,
    ]
    TABLE.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
