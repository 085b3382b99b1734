"""A TFLite file on arrays, by LiteRT's interpreter. TensorFlow is not needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgepress_converters.errors import RunRefusedError
from edgepress_converters.worker.messages import Array, Message, load_arrays, save_arrays


def run(request: Message) -> None:
    """Run a model as a "run" request asks, one sample at a time, and write the stacked raw outputs.

    Raises:
        RunRefusedError: the runtime refuses the file or the inputs.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = {"default": OpResolverType.AUTO, "none": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}

    inputs = load_arrays(Path(request["inputs"]))
    try:
        interpreter = Interpreter(
            model_path=request["model"], experimental_op_resolver_type=kernels[request["delegate"]]
        )
        interpreter.allocate_tensors()
        sources = [interpreter.get_input_details()[position]["index"] for position in request["input_positions"]]
        sinks = [interpreter.get_output_details()[position]["index"] for position in request["output_positions"]]
        samples: list[list[Array]] = []
        for index in range(len(inputs[0])):
            for source, array in zip(sources, inputs, strict=True):
                interpreter.set_tensor(source, array[index : index + 1])
            interpreter.invoke()
            samples.append([np.atleast_1d(interpreter.get_tensor(sink)) for sink in sinks])
    except (ValueError, RuntimeError) as error:  # what the interpreter raises for a bad model and for bad inputs
        raise RunRefusedError(" ".join(str(error).split())) from error
    save_arrays(Path(request["outputs"]), [np.concatenate(outputs) for outputs in zip(*samples, strict=True)])
