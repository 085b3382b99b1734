"""Conversions without zeros, kept where the board runs them faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.benchmarking.comparison import Claim, compare_runs
from edgepress.benchmarking.floor import session_floor
from edgepress.benchmarking.session import require_samples
from edgepress.conversion import convert_model
from edgepress.errors import ConversionError, DeviceError
from edgepress.verification.goldens import make_goldens
from edgepress.verification.output_check import OutputCheckLevel, check_outputs
from edgepress.verification.reference import run_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgepress.compression.steps import Judge
    from edgepress_converters.model import TFLiteModel
    from edgepress_converters.options import ConversionOptions
    from edgepress_converters.pool import WorkerPool

    Arrays = Sequence[NDArray[Any]]


def convert_if_faster(
    model: Any,
    output: Path,
    options: ConversionOptions,
    calibration: Arrays | None,
    inputs: Arrays,
    pool: WorkerPool,
    judge: Judge | None,
) -> tuple[TFLiteModel, ConversionOptions, str]:
    """Convert a Keras model to ``output``, with its zeros or without them, whichever a board runs faster.

    Both files are made, compared on this machine and timed against each other in one session. The zeros are left out
    where that is shown to be faster, and written in every other case.

    Args:
        calibration, pool: those of :func:`edgepress.conversion.convert_model`.
        inputs: one array per model input, in model order, to see whether the files agree.
        judge: asks the board; None: nothing is measured.

    Returns:
        The file, the options that made it, and a sentence that says why.

    Raises:
        ModelError, DataError, ConversionError: the model cannot be converted as it is.
    """
    from edgepress.compression.sparsity import why_not_faster

    dense = convert_model(model, output, options, calibration, pool)
    why = why_not_faster(model, options.format) or ("not measured, no device was named" if judge is None else None)
    if why is not None or judge is None:
        return dense, options, f"zeros are written into the file: {why}"
    sparse_options = replace(options, sparse=True)
    path = output.with_name(f"{output.stem}-sparse{output.suffix}")
    try:
        sparse = convert_model(model, path, sparse_options, calibration, pool)
        check = check_outputs(make_goldens(model, dense, inputs, pool), sparse, run_file(sparse, inputs, pool))
        if check.level is OutputCheckLevel.WRONG:
            raise ConversionError(f"its outputs are not those of the file with zeros: {check.message}")
        first, second = (require_samples(run, judge.device) for run in judge.measure([dense, sparse]))
        comparison = compare_runs(first, second, session_floor(judge.device))
        ratio = comparison.ratio
        said = (
            f"without them {ratio.value:.2f} of the latency (95 % interval {ratio.low:.2f} to {ratio.high:.2f}), "
            f"{sparse.size_bytes:,} instead of {dense.size_bytes:,} bytes"
        )
        if comparison.claim is not Claim.FASTER:
            return dense, options, f"zeros are written into the file, {comparison.claim}: {said}"
        path.replace(output)
        return replace(sparse, path=output), sparse_options, f"zeros are left out of the file, measured: {said}"
    except (ConversionError, DeviceError) as error:
        return dense, options, f"zeros are written into the file, since that without them cannot be used: {error}"
    finally:
        path.unlink(missing_ok=True)
