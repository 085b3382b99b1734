"""What converting MobileNetV2 to int8 with 100 samples costs: edgepress beside the converters by themselves.

Each way in a fresh process, from the .keras file to the .tflite file, imports included; peak memory is that of the
largest process (``ru_maxrss`` of the process and its children).

    python benchmarks/conversion_cost.py
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

TABLE = Path(__file__).parent / "results" / "conversion_cost.md"
SAMPLES = 100
SIDE = 224
WAYS = {
    "edgepress": "edgepress, backend tflite",
    "edgepress-quantizer": "edgepress, backend ai-edge-quantizer",
    "tflite": "TFLiteConverter alone",
    "quantizer": "TFLiteConverter to float32, then ai-edge-quantizer",
}


def samples() -> Any:
    """What is calibrated with."""
    return np.random.default_rng(0).random((SAMPLES, SIDE, SIDE, 3), dtype=np.float32)


def convert(way: str, source: Path, output: Path) -> None:
    """Convert in one of the ways."""
    if way.startswith("edgepress"):
        from edgepress.conversion import convert_model
        from edgepress.models import load_model
        from edgepress_converters.options import ConversionOptions
        from edgepress_converters.pool import WorkerPool

        options = ConversionOptions(
            "int8", backend="ai-edge-quantizer" if way.endswith("quantizer") else "tflite", calibration_samples=SAMPLES
        )
        with WorkerPool() as pool:
            pool.start()
            convert_model(load_model(source), output, options, (samples(),), pool)
        return
    import keras
    import tensorflow as tf

    model = keras.models.load_model(source)
    fixed = keras.Input(batch_shape=(1, SIDE, SIDE, 3))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(fixed, model(fixed)))
    if way == "quantizer":
        from ai_edge_quantizer import quantizer, recipe

        made = quantizer.Quantizer(converter.convert(), recipe.static_wi8_ai8())
        signature = converter_inputs(made)
        data = {signature[0]: [{signature[1]: sample[None]} for sample in samples()]}
        output.write_bytes(bytes(made.quantize(made.calibrate(data)).quantized_model))
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    output.write_bytes(converter.convert())


def converter_inputs(made: Any) -> tuple[str, str]:
    """Name of the only signature and of its only input."""
    from ai_edge_litert.interpreter import Interpreter

    signatures = Interpreter(model_content=bytes(made._float_model_buffer)).get_signature_list()
    ((name, described),) = signatures.items()
    return name, described["inputs"][0]


def main() -> None:
    """Measure all ways, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, metavar=("WAY", "SOURCE", "OUTPUT"), help=argparse.SUPPRESS)
    one = parser.parse_args().one
    if one:
        convert(one[0], Path(one[1]), Path(one[2]))
        return
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.keras"
        make = f"import keras; keras.applications.MobileNetV2(weights=None).save({str(source)!r})"
        subprocess.run([sys.executable, "-c", make], check=True)
        for way, title in WAYS.items():
            output = Path(folder) / f"{way}.tflite"
            measured = [sys.executable, "-c", MEASURE, sys.executable, __file__, "--one", way, str(source), str(output)]
            said = subprocess.run(measured, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()[-1]
            wall, cpu, peak = map(float, said.split())
            lines.append(f"| {title} | {wall:.1f} | {cpu:.1f} | {peak / 2**20:,.0f} | {output.stat().st_size:,} |")
            sys.stderr.write(lines[-1] + "\n")
    versions = ", ".join(
        f"{package} {metadata.version(package)}"
        for package in ("edgepress", "tensorflow", "keras", "ai-edge-quantizer")
    )
    text = [
        f"# Converting MobileNetV2 to int8 with {SAMPLES} samples",
        "",
        "    python benchmarks/conversion_cost.py",
        "",
        f"- {versions}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs, Linux "
        f"{platform.release()}; load {os.getloadavg()[0]:.1f} at the end: CPU seconds say more than wall time",
        "- one run each, in a fresh process, from the .keras file, imports included; peak memory is that of the "
        "largest process: edgepress has two, the one that holds the model and the one that converts",
        "",
        "| way | wall (s) | CPU (s) | peak memory of the largest process (MiB) | file (bytes) |",
        "|---|---|---|---|---|",
        *lines,
    ]
    TABLE.write_text("\n".join(text) + "\n")


# Its own process, whose children are the measured ones only.
MEASURE = """
import resource, subprocess, sys, time
started = time.monotonic()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
"""

if __name__ == "__main__":
    main()
