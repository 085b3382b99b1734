"""A TFLite model in an interpreter. The only module that imports a runtime."""

from __future__ import annotations

import importlib
import math
import random
from typing import TYPE_CHECKING, Any, Sequence, Tuple

from edgepress_agent.faults import Fault
from edgepress_agent.protocol.tensors import dequantize, quantize

if TYPE_CHECKING:
    from edgepress_agent.protocol.tensors import Array

# Distribution name -> module.
MODULES = {
    "tflite-runtime": "tflite_runtime.interpreter",
    "ai-edge-litert": "ai_edge_litert.interpreter",
}


def import_runtime(name: str) -> Any:
    """Import a runtime's interpreter module.

    Raises:
        Fault: "no-runtime".
    """
    try:
        return importlib.import_module(MODULES[name])
    except ImportError as error:
        raise Fault("no-runtime", f"{name} cannot be imported here: {error}") from error


class Model:
    """One model, loaded. Positions are the model's own order (see :class:`JobSpec`); empty means the interpreter's."""

    def __init__(self, runtime: Any, path: str, threads: int, delegate: str) -> None:
        """Load the file, memory-mapped.

        Args:
            runtime: module of :func:`import_runtime`.
            threads: of the kernels and of XNNPACK.
            delegate: "default": what the runtime does by itself, which is XNNPACK; "none": its own kernels.

        Raises:
            Fault: "model-rejected".
        """
        resolvers = runtime.OpResolverType
        resolver = resolvers.AUTO if delegate == "default" else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        with _RuntimeErrors("model-rejected", "the runtime does not load it"):
            self._interpreter = runtime.Interpreter(
                model_path=path, num_threads=threads, experimental_op_resolver_type=resolver
            )
        self.invoke = self._interpreter.invoke
        self._inputs: Sequence[Any] = ()
        self._outputs: Sequence[Any] = ()

    def allocate(self, input_positions: Sequence[int], output_positions: Sequence[int]) -> None:
        """Allocate tensors.

        Raises:
            Fault: "model-rejected"; "bad-request" for positions that the model does not have.
        """
        with _RuntimeErrors("model-rejected", "the runtime cannot allocate its tensors"):
            self._interpreter.allocate_tensors()
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._inputs = _ordered(inputs, input_positions, "inputs")
        self._outputs = _ordered(outputs, output_positions, "outputs")

    @property
    def interpreter(self) -> Any:
        """The runtime's own object."""
        return self._interpreter

    @property
    def input_shapes(self) -> Tuple[Tuple[int, ...], ...]:
        """The shape of each input, with the batch of 1."""
        return tuple(tuple(details["shape"].tolist()) for details in self._inputs)

    def count_nodes(self) -> Tuple[int, int]:
        """Return how many nodes a delegate took over as a whole, and how many operators the model has.

        Raises:
            Fault: "model-failed": it has names that are none.
        """
        with _RuntimeErrors("model-failed", "the runtime cannot list its operators"):
            names = [node["op_name"] for node in self._interpreter._get_ops_details()]
        delegates = names.count("DELEGATE")
        return delegates, len(names) - delegates

    def random_inputs(self, seed: int) -> Tuple[Array, ...]:
        """Return one seeded sample in the tensors' own types.

        Floats lie in [0, 1); integers with a scale take their whole range; others (ids) are 0 or 1. Without
        numpy.random: its import would count as 7 MB of the model's memory.
        """
        import numpy as np

        generator = random.Random(seed)  # noqa: S311 - inputs, not secrets  # nosec B311
        arrays = []
        for details in self._inputs:
            shape, dtype = tuple(details["shape"].tolist()), np.dtype(details["dtype"])
            count = math.prod(shape)
            if dtype.kind in "iu" and details["quantization"][0]:
                flat = np.frombuffer(generator.randbytes(count * dtype.itemsize), dtype)
            else:
                octets = np.frombuffer(generator.randbytes(count), np.uint8)
                flat = (octets / 256).astype(dtype) if dtype.kind == "f" else (octets & 1).astype(dtype)
            arrays.append(flat.reshape(shape))
        return tuple(arrays)

    def quantized(self, sample: Sequence[Array]) -> Tuple[Array, ...]:
        """Turn one sample of real values (leading axis 1) into what the input tensors take.

        Raises:
            Fault: "bad-request" when number or shapes do not fit.
        """
        if len(sample) != len(self._inputs):
            raise Fault("bad-request", f"the model has {len(self._inputs)} inputs; arrays were sent for {len(sample)}")
        arrays = []
        for array, details in zip(sample, self._inputs):
            shape = tuple(details["shape"].tolist())
            if array.shape != shape:
                raise Fault("bad-request", f"input {details['name']!r} takes {shape}; a sample has {array.shape}")
            scale, zero_point = details["quantization"]
            arrays.append(quantize(array, details["dtype"], scale or None, zero_point))
        return tuple(arrays)

    def set_inputs(self, arrays: Sequence[Array]) -> None:
        """Copy arrays, already in the tensors' types, into the input tensors."""
        for array, details in zip(arrays, self._inputs):
            self._interpreter.set_tensor(details["index"], array)

    def outputs(self) -> Tuple[Array, ...]:
        """Return copies of the output tensors, raw."""
        return tuple(self._interpreter.get_tensor(details["index"]) for details in self._outputs)

    def real_outputs(self) -> Tuple[Array, ...]:
        """Return the outputs as real values, float32, without the batch."""
        real = []
        for array, details in zip(self.outputs(), self._outputs):
            scale, zero_point = details["quantization"]
            real.append(without_batch(dequantize(array, scale or None, zero_point)))
        return tuple(real)


def without_batch(output: Array) -> Array:
    """Return an output without its leading axis of 1, where it has one."""
    return output[0] if output.ndim and output.shape[0] == 1 else output


def running() -> _RuntimeErrors:
    """Return a context in which what the runtime raises becomes "model-failed"."""
    return _RuntimeErrors("model-failed", "the runtime failed while it ran the model")


class _RuntimeErrors:
    """Turns whatever a runtime raises into a fault of one code. TFLite's bindings raise almost any class."""

    def __init__(self, code: str, what: str) -> None:
        self._code = code
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, Fault):
            text = f"{type(error).__name__}: {error}"
            raise Fault(self._code, f"{self._what}: {text[:2000]}", runtime_error=text[:8000]) from error


def _ordered(details: Sequence[Any], positions: Sequence[int], what: str) -> Sequence[Any]:
    if not positions:
        return details
    if sorted(positions) != list(range(len(details))):
        raise Fault("bad-request", f"positions {list(positions)} do not number the model's {len(details)} {what}")
    return [details[position] for position in positions]
