"""Conversions and reference runs in a process that may die.

The converter can segfault (TensorFlow 2.21: int8 of an LSTM that is not unrolled) and takes seconds to import, so there
is one resident worker, which is started when it is first needed and started again after a crash.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from edgepress_converters import errors
from edgepress_converters.checks import (
    calibration_samples,
    check_options,
    refuse_no_int4,
    refuse_unexpected_float,
    refuse_what_runtimes_do_not_take,
)
from edgepress_converters.child import Child, ChildDied
from edgepress_converters.errors import RunRefusedError, WorkerDiedError
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.model import TFLiteModel
from edgepress_converters.options import ConversionOptions
from edgepress_converters.repack import SMALL_FILE_BYTES, repack_file
from edgepress_converters.worker.messages import Array, Message, load_arrays, save_arrays

DEADLINE_S = 600.0
Delegate = Literal["default", "none"]

_ANSWERED_ERRORS = {
    error.__name__: error
    for error in (errors.ConversionRefusedError, errors.RunRefusedError, errors.MissingPackageError)
}


class WorkerPool:
    """One resident worker process. Lifecycle: create (starts nothing), ``start`` (optional), ``convert`` and ``run``,
    ``close``; or a ``with`` block. Not thread-safe."""

    def __init__(self) -> None:
        self._child: Child | None = None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the worker; None while there is none."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Begin to import TensorFlow in the worker, and return at once: the first conversion will wait less."""
        with contextlib.suppress(ChildDied):  # the conversion will find out, and say why
            self._living_child().tell({"task": "prepare"})

    def close(self) -> None:
        """Kill the worker. The next request would start another."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def convert(
        self,
        saved_model: Path,
        output: Path,
        options: ConversionOptions,
        calibration: tuple[Array, ...] | None = None,
        timeout_s: float = DEADLINE_S,
    ) -> TFLiteModel:
        """Convert what :func:`edgepress_converters.export.export_saved_model` wrote to the file ``output``.

        ``output`` appears complete and checked, or not at all. ``calibration`` has one array per model input, in model
        order, each ``(n, ...)`` in the input's own dtype; ``options.calibration_samples`` of them are used.

        Raises:
            ConverterError: one of its classes.
        """
        check_options(options)
        samples = calibration_samples(options, calibration)
        output.parent.mkdir(parents=True, exist_ok=True)
        part = output.with_name(f".{output.name}.{os.getpid()}.part")
        try:
            with tempfile.TemporaryDirectory(prefix="edgepress-") as scratch:
                request: Message = {
                    "task": "convert",
                    "saved_model": str(saved_model.resolve()),
                    "output": str(part.resolve()),
                    "options": dataclasses.asdict(options),
                    "calibration": None,
                }
                if samples:
                    request["calibration"] = f"{scratch}/calibration.npz"
                    save_arrays(Path(request["calibration"]), samples)
                self._ask(request, f"converting to {output.name} ({options.format})", timeout_s)
            model = read_model(part)
            refuse_unexpected_float(model, options)
            refuse_no_int4(model, options)
            refuse_what_runtimes_do_not_take(model, options)
            if options.repack or (options.repack is None and model.size_bytes < SMALL_FILE_BYTES):
                repack_file(part)
                model = read_model(part)
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
        return dataclasses.replace(model, path=output)

    def run(
        self,
        model: TFLiteModel,
        inputs: tuple[Array, ...],
        timeout_s: float = DEADLINE_S,
        *,
        delegate: Delegate = "default",
    ) -> tuple[Array, ...]:
        """Run a file on samples, one at a time, on this machine.

        Args:
            inputs: one array per model input, in model order, each ``(n, ...)`` in the dtype of the file's input.
            delegate: ``default``: as the runtime does it by itself, with XNNPACK; ``none``: its own kernels alone.

        Returns:
            One array per model output, in model order, each ``(n, ...)``, raw: not dequantized.

        Raises:
            RunRefusedError: the inputs do not fit, or the runtime refuses the file.
            WorkerDiedError: the runtime died of it.
        """
        _check_inputs(model, inputs)
        with tempfile.TemporaryDirectory(prefix="edgepress-") as scratch:
            request: Message = {
                "task": "run",
                "model": str(model.path.resolve()),
                "inputs": f"{scratch}/inputs.npz",
                "outputs": f"{scratch}/outputs.npz",
                "input_positions": [spec.position for spec in model.inputs],
                "output_positions": [spec.position for spec in model.outputs],
                "delegate": delegate,
            }
            save_arrays(Path(request["inputs"]), inputs)
            self._ask(request, f"running {model.path.name}", timeout_s)
            return load_arrays(Path(request["outputs"]))

    def _ask(self, request: Message, doing: str, timeout_s: float) -> None:
        child = self._living_child()
        log_start = child.log_size()
        try:
            answer = child.ask(request, timeout_s)
        except ChildDied as death:
            said = child.last_lines(log_start)
            self.close()
            raise WorkerDiedError(_explain(doing, death, said), death.signal, doing) from None
        except TimeoutError:
            self.close()
            raise WorkerDiedError(
                f"{doing}: killed after {timeout_s:g} s without an answer", "SIGKILL", doing
            ) from None
        except BaseException:  # Ctrl-C: nobody will ever read this answer
            self.close()
            raise
        if answer:
            raise _ANSWERED_ERRORS[answer["error"]](f"{doing}: {answer['message']}")

    def _living_child(self) -> Child:
        if self._child is not None and not self._child.alive:
            self.close()
        if self._child is None:
            self._child = Child()
        return self._child


def _check_inputs(model: TFLiteModel, inputs: tuple[Array, ...]) -> None:
    if len(inputs) != len(model.inputs):
        raise RunRefusedError(f"{model.path.name} has {len(model.inputs)} inputs; got {len(inputs)} arrays")
    for spec, array in zip(model.inputs, inputs, strict=True):
        if array.dtype != np.dtype(spec.dtype) or array.shape[1:] != spec.shape[1:] or len(array) == 0:
            raise RunRefusedError(
                f"input {spec.name!r} of {model.path.name} takes {spec.dtype} samples of shape {spec.shape[1:]}, "
                f"at least one; got {array.dtype} of shape {array.shape}"
            )
    if len({len(array) for array in inputs}) > 1:
        raise RunRefusedError(f"inputs of different lengths: {[len(array) for array in inputs]}")


def _explain(doing: str, death: ChildDied, last_lines: str) -> str:
    message = f"{doing}: the process {death}"
    if doing.startswith("converting") and death.signal == "SIGSEGV":
        message += (
            "; TensorFlow's converter does so in int8 for recurrent layers that are exported as loops "
            "(export_saved_model(..., steps_in_a_row=True) writes them out). The formats dynamic, float16 and float32 "
            "ask less of it"
        )
    if death.signal == "SIGKILL":
        message += "; the kernel does so when memory runs out"
    return f"{message}. It last said:\n{last_lines}" if last_lines else message
