"""How well a board's outputs agree with what they should be.

Kernels round differently from one architecture and runtime to the next, in int8 now and then by many steps; so
equality is too much to ask, and a fixed distance from this machine's outputs may be too. What counts in the end is that
the board is no further from the float32 model than this machine is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepress.verification.reference import to_real

if TYPE_CHECKING:
    from edgepress.verification.goldens import Goldens
    from edgepress_converters.model import TensorSpec, TFLiteModel

Array = NDArray[Any]

# Of the range of an output over the goldens. Arithmetic in half precision (a Pi 5 may use it) errs by 2^-11, about
# 5e-4; a wrong kernel by orders of magnitude more.
FLOAT_TOLERANCE = 1e-3
# Of the largest value of an output: what sums in another order may cost in float32 where the range is next to nothing.
FLOAT_ROUNDING = 1e-5
# Quantized outputs: steps of the output's scale. One for the last rounding, one for what earlier roundings add up to.
LSB_TOLERANCE = 2
# "As good": the board's RMS error against the float32 reference, over the host's. With 16 goldens of 10 classes the
# RMS itself is known to about 10 %. Where the host has hardly an error, the tolerance in steps holds for the RMS: one
# input in 16 may fall to the other side of roundings on the way (seen: 9 steps, tflite-runtime 2.14 on ARM).
AS_GOOD_MARGIN = 1.25


class OutputCheckLevel(StrEnum):
    """From best to worst. All but ``WRONG`` are fit for use."""

    IDENTICAL = "identical"
    WITHIN_TOLERANCE = "within tolerance"
    AS_GOOD = "as good"
    WRONG = "wrong"


_ORDER = tuple(OutputCheckLevel)


@dataclass(frozen=True)
class OutputCheck:
    """The result of a check.

    Attributes:
        level: the worst of all outputs.
        max_abs_error: largest difference from this machine's outputs, in real values; None where outputs cannot be
            subtracted (another shape, NaN).
        max_lsb: the same in steps of the quantized outputs; None when no output is quantized.
        message: a sentence on how far off the worst output is.
    """

    level: OutputCheckLevel
    max_abs_error: float | None
    max_lsb: int | None
    message: str


def check_outputs(goldens: Goldens, model: TFLiteModel, board_outputs: Sequence[Array]) -> OutputCheck:
    """Compare a board's outputs on the goldens' inputs with this machine's and with the float32 reference.

    Args:
        board_outputs: raw (not dequantized), in model order, each ``(n, ...)`` like ``goldens.host_outputs``.
    """
    if len(board_outputs) != len(goldens.host_outputs):
        return _wrong(f"{len(board_outputs)} outputs instead of {len(goldens.host_outputs)}")
    board_real, host_real = to_real(model, board_outputs), to_real(model, goldens.host_outputs)
    references = goldens.reference_outputs or (None,) * len(host_real)
    checks = [
        _check_output(_Output(*values))
        for values in zip(
            model.outputs, board_outputs, goldens.host_outputs, board_real, host_real, references, strict=True
        )
    ]
    worst = max(checks, key=lambda check: _ORDER.index(check.level))
    errors = [check.max_abs_error for check in checks]
    steps = [check.max_lsb for check in checks if check.max_lsb is not None]
    return OutputCheck(
        level=worst.level,
        max_abs_error=None if None in errors else max(error for error in errors if error is not None),
        max_lsb=max(steps, default=None),
        message=worst.message,
    )


@dataclass(frozen=True)
class _Output:
    spec: TensorSpec
    board: Array
    host: Array
    board_real: NDArray[np.float32]
    host_real: NDArray[np.float32]
    reference: NDArray[np.float32] | None


def _check_output(output: _Output) -> OutputCheck:
    name = f"output {output.spec.name!r}"
    if output.board.shape != output.host.shape or output.board.dtype != output.host.dtype:
        return _wrong(
            f"{name} is {output.board.dtype} of shape {output.board.shape} instead of "
            f"{output.host.dtype} of shape {output.host.shape}"
        )
    if not np.isfinite(output.board_real).all():
        count = int((~np.isfinite(output.board_real)).any(axis=tuple(range(1, output.board_real.ndim))).sum())
        also = "" if np.isfinite(output.host_real).all() else ", as on this machine"
        return _wrong(f"{name} has NaN or infinity for {count} of {len(output.board)} inputs{also}")
    if not np.isfinite(output.host_real).all():
        return _wrong(f"{name} has NaN or infinity on this machine: there is nothing to compare the board's with")

    difference = float(np.abs(output.board_real.astype(np.float64) - output.host_real).max(initial=0.0))
    steps = None
    if output.host.dtype.kind in "iu":
        steps = int(np.abs(output.board.astype(np.int64) - output.host.astype(np.int64)).max(initial=0))
    near, distance = _is_near(output, difference, steps)
    if output.board.tobytes() == output.host.tobytes():
        return OutputCheck(OutputCheckLevel.IDENTICAL, difference, steps, "every byte is the same as on this machine")
    if near:
        return OutputCheck(OutputCheckLevel.WITHIN_TOLERANCE, difference, steps, f"{name} differs by {distance}")
    if output.reference is None:
        return OutputCheck(
            OutputCheckLevel.WRONG,
            difference,
            steps,
            f"{name} differs from this machine's by {distance}, and there is no float32 reference to judge by",
        )
    board_error, host_error = _rms(output.board_real, output.reference), _rms(output.host_real, output.reference)
    compared = (
        f"{name} differs from this machine's by {distance}; its RMS error against the float32 model is "
        f"{board_error:.3g}, this machine's {host_error:.3g}"
    )
    allowed = max(AS_GOOD_MARGIN * host_error, LSB_TOLERANCE * (output.spec.scale or 0.0) if steps is not None else 0.0)
    if board_error <= allowed:
        return OutputCheck(OutputCheckLevel.AS_GOOD, difference, steps, compared)
    return OutputCheck(OutputCheckLevel.WRONG, difference, steps, f"{compared} (at most {allowed:.3g} allowed)")


def _is_near(output: _Output, difference: float, steps: int | None) -> tuple[bool, str]:
    """Return whether an output is within tolerance, and its distance in words."""
    if steps is not None:
        allowed = LSB_TOLERANCE if output.spec.scale else 0  # without a scale it is a class, an index: equal or not
        return steps <= allowed, f"up to {steps} steps (tolerance {allowed})"
    span, largest = float(np.ptp(output.host_real)), float(np.abs(output.host_real).max(initial=0.0))
    allowed_difference = max(FLOAT_TOLERANCE * span, FLOAT_ROUNDING * largest)
    return difference <= allowed_difference, f"up to {difference:.3g} (tolerance {allowed_difference:.3g})"


def _rms(values: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean((values.astype(np.float64) - reference) ** 2)))


def _wrong(message: str) -> OutputCheck:
    return OutputCheck(OutputCheckLevel.WRONG, None, None, message)
