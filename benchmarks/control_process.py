"""One process of the control: a model run by LiteRT's own Python API, timed by a plain loop. Nothing of edgepress.

    python benchmarks/control_process.py interpreter digits.tflite --runs 2000 --warmup 200

prints the samples as a JSON array of nanoseconds. ``agent_overhead.py`` starts it.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def interpreter(path: str, threads: int) -> Callable[[], None]:
    """Load a model into ``Interpreter`` and fill its inputs."""
    from ai_edge_litert.interpreter import Interpreter

    loaded = Interpreter(model_path=path, num_threads=threads)
    loaded.allocate_tensors()
    for details in loaded.get_input_details():
        loaded.set_tensor(details["index"], random_input(details["shape"], details["dtype"]))
    invoke: Callable[[], None] = loaded.invoke
    return invoke


def compiled_model(path: str, threads: int) -> Callable[[], None]:
    """Load a model into ``CompiledModel`` and fill its inputs."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import CpuOptions, Options

    options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=CpuOptions(num_threads=threads))
    loaded = CompiledModel.from_file(path, options=options)
    (signature,) = loaded.get_signature_list()
    inputs, outputs = loaded.create_input_buffers(0), loaded.create_output_buffers(0)
    names = loaded.get_signature_by_index(0)["inputs"]
    for name, buffer in zip(names, inputs, strict=True):
        details = loaded.get_input_tensor_details(signature)[name]
        buffer.write(random_input(details["shape"], np.dtype(details["dtype"])))
    run = loaded.run_by_index
    return lambda: run(0, inputs, outputs)


def random_input(shape: Any, dtype: Any) -> NDArray[Any]:
    """Values as the agent's benchmark takes them: floats in [0, 1), integers over their range."""
    generator, dtype = np.random.default_rng(0), np.dtype(dtype)
    if dtype.kind == "f":
        return generator.random(tuple(shape)).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, tuple(shape), dtype, endpoint=True)


APIS = {"interpreter": interpreter, "compiled-model": compiled_model}


def main() -> None:
    """Run the model as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("api", choices=APIS)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, required=True)
    parser.add_argument("--runs", type=int, required=True)
    arguments = parser.parse_args()

    run = APIS[arguments.api](arguments.model, arguments.threads)
    for _ in range(arguments.warmup):
        run()
    clock = time.monotonic_ns
    samples = [0] * arguments.runs
    gc.collect()
    gc.disable()
    for index in range(arguments.runs):
        start = clock()
        run()
        samples[index] = clock() - start
    print(json.dumps(samples))


if __name__ == "__main__":
    main()
