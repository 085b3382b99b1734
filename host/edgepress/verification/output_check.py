"""How well a board's outputs agree with what they should be.

Two questions, of every output. *Does the board run the file as this machine does?* Kernels round differently from one
runtime and architecture to the next, in int8 now and then by many steps. This machine has two sets of kernels itself,
with XNNPACK and without: the board should be near one of the two, and where it is not, nearer to it than quantization
is to the float32 model. *Does the file still say what the float32 model says?* It may not where its quantization went
wrong, and then all machines agree on the wrong answer.
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
Reals = NDArray[np.float32]

# Of the range of an output over the goldens. Arithmetic in half precision (a Pi 5 may use it) errs by 2^-11, about
# 5e-4; a wrong kernel by orders of magnitude more.
FLOAT_TOLERANCE = 1e-3
# Of the largest value of an output: what sums in another order may cost in float32 where the range is next to nothing.
FLOAT_ROUNDING = 1e-5
# Quantized outputs: steps of the output's scale. One for the last rounding, one for what earlier roundings add up to.
LSB_TOLERANCE = 2
# "As good", all by RMS: the error against the float32 reference is no larger than this machine's; the difference
# from this machine is at most a part of that error, or what this machine's two sets of kernels differ by, if more (seen
# in runs that were right: 0.1 of the error, 1.2 of the difference). All of it times 1 + SAMPLING / sqrt(n), since n
# goldens know an RMS no better. Where this machine has hardly an error, a step's worth of STRAY_STEPS / sqrt(n): one
# input may fall to the other side of roundings on the way (seen: 9 steps, tflite-runtime 2.14 on ARM).
OWN_ERROR = 0.25
OWN_SPREAD = 1.5
SAMPLING = 2.0
STRAY_STEPS = 8.0
# "As good": roundings have no preference. A channel that differs on average, by more than SHIFT of the RMS error and by
# more standard errors than chance allows, is computed differently (seen: 2.4 in runs that were right, 5 to 20 with one
# weight of a layer wrong). Few goldens know a standard error less well.
SHIFT = 0.1
STANDARD_ERRORS = 4.5
# Inputs whose largest entry may be another one than on this machine, though it is no near tie (two of few goldens); and
# twice as many as differ between this machine's two sets of kernels.
CHANGED_SHARE = 0.01
LEAST_CHANGED = 2
# The RMS error of a channel against the float32 reference, over the reference's own deviation: 1 is what a constant
# would reach. By the coarsest numbers in the file; seen in files that were right: 1e-4, 2e-3, 0.07.
LARGEST_ERRORS = {"float32": 0.01, "float16": 0.05, "integers": 0.5}
# Of the largest deviation of any channel: what a channel must have to be judged by its error.
SPEAKING_CHANNEL = 0.1
LEAST_VALUES = 8  # of a channel: a deviation of fewer says nothing


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
    count = len(goldens.host_outputs)
    if len(board_outputs) != count:
        return _wrong(f"{len(board_outputs)} outputs instead of {count}")
    checks = [_check_output(output) for output in _outputs(goldens, model, board_outputs)]
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
class _Answer:
    """What a machine says: raw, and in real values."""

    raw: Array
    real: Reals


@dataclass(frozen=True)
class _Output:
    """One output on all goldens.

    Attributes:
        hosts: this machine's answers, the usual one first.
        error_limit: of :data:`LARGEST_ERRORS`.
    """

    spec: TensorSpec
    board: _Answer
    hosts: tuple[_Answer, ...]
    reference: Reals | None
    error_limit: float

    @property
    def name(self) -> str:
        return f"output {self.spec.name!r}"


def _outputs(goldens: Goldens, model: TFLiteModel, board_outputs: Sequence[Array]) -> list[_Output]:
    machines = [
        [_Answer(*pair) for pair in zip(raw, to_real(model, raw), strict=True)]
        for raw in (board_outputs, goldens.host_outputs, goldens.plain_outputs)
        if raw is not None
    ]
    references = goldens.reference_outputs or (None,) * len(board_outputs)
    limit = LARGEST_ERRORS[_coarsest(model)]
    return [
        _Output(spec, board, tuple(hosts), reference, limit)
        for spec, (board, *hosts), reference in zip(model.outputs, zip(*machines, strict=True), references, strict=True)
    ]


def _coarsest(model: TFLiteModel) -> str:
    types = {name for name, _ in model.tensor_types}
    if types & {"INT4", "INT8", "INT16"}:
        return "integers"
    return "float16" if types & {"FLOAT16", "BFLOAT16"} else "float32"


def _check_output(output: _Output) -> OutputCheck:
    board, usual, name = output.board, output.hosts[0], output.name
    if board.raw.shape != usual.raw.shape or board.raw.dtype != usual.raw.dtype:
        return _wrong(
            f"{name} is {board.raw.dtype} of shape {board.raw.shape} instead of "
            f"{usual.raw.dtype} of shape {usual.raw.shape}"
        )
    if not np.isfinite(board.real).all():
        count = int((~np.isfinite(board.real)).any(axis=tuple(range(1, board.real.ndim))).sum())
        also = "" if np.isfinite(usual.real).all() else ", as on this machine"
        return _wrong(f"{name} has NaN or infinity for {count} of {len(board.raw)} inputs{also}")
    if not np.isfinite(usual.real).all():
        return _wrong(f"{name} has NaN or infinity on this machine: there is nothing to compare the board's with")
    return _Comparison(output).judged()


class _Comparison:
    """A board's output beside that answer of this machine which is nearest to it."""

    def __init__(self, output: _Output) -> None:
        self._output = output
        self._board = output.board.real
        finite = [host for host in output.hosts if np.isfinite(host.real).all()]
        self._host = min(finite, key=lambda host: _rms(self._board, host.real))
        self._hosts = [host.real for host in finite]
        self._difference = float(np.abs(self._board.astype(np.float64) - self._host.real).max(initial=0.0))
        self._steps = None
        if self._host.raw.dtype.kind in "iu":
            apart = output.board.raw.astype(np.int64) - self._host.raw.astype(np.int64)
            self._steps = int(np.abs(apart).max(initial=0))
        self._step = output.spec.scale or 0.0 if self._steps is not None else 0.0
        known = [self._host.real] if output.reference is None else [self._host.real, output.reference]
        largest = max(float(np.abs(values).max(initial=0.0)) for values in known)  # dead outputs: the reference's scale
        self._tolerance = max(FLOAT_TOLERANCE * float(np.ptp(self._host.real)), FLOAT_ROUNDING * largest)

    def judged(self) -> OutputCheck:
        name = self._output.name
        strays = self._strays()
        if strays is not None:
            return self._at(OutputCheckLevel.WRONG, f"{name} {strays}")
        if self._output.board.raw.tobytes() == self._host.raw.tobytes():
            return self._at(OutputCheckLevel.IDENTICAL, "every byte is the same as on this machine")
        distance, is_near = self._distance()
        said = f"{name} differs from this machine's by {distance}"
        changed, may_change = self._changed()
        if changed > may_change:
            said += f"; another entry is the largest for {changed} inputs (at most {may_change} allowed)"
            return self._at(OutputCheckLevel.WRONG, said)
        if is_near:
            return self._at(OutputCheckLevel.WITHIN_TOLERANCE, said)
        return self._beside(said)

    def _beside(self, said: str) -> OutputCheck:
        """Whether a board that is not near is no worse: by the float32 model, and by what this machine's kernels do."""
        reference, root = self._output.reference, len(self._board) ** 0.5
        own_spread = max(_rms(one, other) for one in self._hosts for other in self._hosts)
        slack, floor = 1 + SAMPLING / root, STRAY_STEPS / root * self._step
        apart, own_error, is_good = _rms(self._board, self._host.real), 0.0, True
        if reference is None:
            floor = 0.0
            said += ", and there is no float32 reference to judge by"
        else:
            own_error = max(_rms(host, reference) for host in self._hosts)
            error, allowed = _rms(self._board, reference), max(slack * own_error, floor)
            is_good = error <= allowed
            said += (
                f"; its RMS error against the float32 model is {error:.3g} (this machine's {own_error:.3g}, at most "
                f"{allowed:.3g} allowed)"
            )
        allowed_apart = max(slack * OWN_ERROR * own_error, slack * OWN_SPREAD * own_spread, floor)
        said += f"; its RMS difference from this machine is {apart:.3g} (at most {allowed_apart:.3g})"
        channel, shift, errors = _largest_shift(self._board, self._host.real, SHIFT * max(own_error, own_spread))
        few = 1 + 8 / len(self._board)
        if errors > STANDARD_ERRORS * few:
            said += f"; channel {channel} differs by {shift:.3g} on average, {errors:.1f} standard errors"
            return self._at(OutputCheckLevel.WRONG, f"{said} (at most {STANDARD_ERRORS * few:.1f} allowed)")
        is_good = is_good and apart <= allowed_apart
        return self._at(OutputCheckLevel.AS_GOOD if is_good else OutputCheckLevel.WRONG, said)

    def _at(self, level: OutputCheckLevel, message: str) -> OutputCheck:
        return OutputCheck(level, self._difference, self._steps, f"{message} ({len(self._board)} inputs)")

    def _distance(self) -> tuple[str, bool]:
        """The distance from this machine's answer in words, and whether it is within tolerance."""
        if self._steps is not None:
            allowed = LSB_TOLERANCE if self._step else 0  # without a scale it is a class, an index: equal or not
            return f"up to {self._steps} steps (tolerance {allowed})", self._steps <= allowed
        return (
            f"up to {self._difference:.3g} (tolerance {self._tolerance:.3g})",
            self._difference <= self._tolerance,
        )

    def _strays(self) -> str | None:
        """Say where the board does not follow the float32 model, if it does not."""
        reference, is_index = self._output.reference, self._steps is not None and not self._step
        if reference is None or is_index:
            return None
        shares = _shares_of_deviation(self._board, reference, LSB_TOLERANCE * self._step)
        if shares.max(initial=0.0) <= self._output.error_limit:
            return None
        channel = int(shares.argmax())
        here = float(_shares_of_deviation(self._hosts[0], reference, LSB_TOLERANCE * self._step)[channel])
        return (
            f"does not follow the float32 model: in channel {channel} of {len(shares)} its RMS error is "
            f"{shares[channel]:.2f} of that model's own deviation (this machine's {here:.2f}, at most "
            f"{self._output.error_limit:g} allowed)"
        )

    def _changed(self) -> tuple[int, int]:
        """On how many inputs the largest entry is another one, near ties apart, and how many may be."""
        if self._board.ndim != 2 or self._board.shape[1] < 2:
            return 0, 0
        tie = self._step or self._tolerance
        own = [_changed_entries(one, other, tie) for one in self._hosts for other in self._hosts]
        return (
            _changed_entries(self._host.real, self._board, tie),
            max(LEAST_CHANGED, int(CHANGED_SHARE * len(self._board))) + 2 * max(own),
        )


def _shares_of_deviation(values: Reals, reference: Reals, floor: float) -> NDArray[np.float64]:
    """Return the RMS error of each channel over the reference's deviation; 0 where that says too little.

    An error of ``floor``, or of what float32 rounds, is none.
    """
    channels = reference.shape[-1] if reference.ndim > 1 else 1
    expected = reference.reshape(-1, channels).astype(np.float64)
    error = np.sqrt(np.mean((values.reshape(-1, channels) - expected) ** 2, axis=0))
    deviation = expected.std(axis=0)
    speaks = deviation > max(SPEAKING_CHANNEL * deviation.max(initial=0.0), FLOAT_ROUNDING * np.abs(expected).max())
    speaks &= (error > floor) & (len(expected) >= LEAST_VALUES)
    shares: NDArray[np.float64] = np.divide(error, deviation, out=np.zeros(channels), where=speaks)
    return shares


def _largest_shift(values: Reals, host: Reals, least: float) -> tuple[int, float, float]:
    """Return the channel whose mean difference is the most standard errors, of those with ``least`` or more; the
    difference; and its standard errors (0 where there is no such channel)."""
    channels = host.shape[-1] if host.ndim > 1 else 1
    difference = (values.astype(np.float64) - host).reshape(len(host), -1, channels).mean(axis=1)
    mean, deviation = difference.mean(axis=0), difference.std(axis=0)
    counts = (np.abs(mean) > least) & (len(host) >= LEAST_VALUES)
    spread = np.maximum(deviation, 1e-6 * np.abs(mean))  # the same difference on every input is no less than certain
    errors = np.divide(np.abs(mean) * len(host) ** 0.5, spread, out=np.zeros(channels), where=counts)
    channel = int(errors.argmax())
    return channel, float(mean[channel]), float(errors[channel])


def _changed_entries(host: Reals, board: Reals, tie: float) -> int:
    """Return on how many inputs the board's largest entry is, on the host, more than a tie below the host's."""
    rows = np.arange(len(host))
    return int((host.max(axis=1) - host[rows, board.argmax(axis=1)] > tie).sum())


def _rms(values: Reals, reference: Reals) -> float:
    return float(np.sqrt(np.mean((values.astype(np.float64) - reference) ** 2)))


def _wrong(message: str) -> OutputCheck:
    return OutputCheck(OutputCheckLevel.WRONG, None, None, message)
