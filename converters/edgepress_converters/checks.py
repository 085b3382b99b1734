"""What is checked before a conversion, and on its result."""

from __future__ import annotations

import json

import numpy as np

from edgepress_converters.errors import CalibrationError, UnexpectedFloatError, UnsupportedOptionError
from edgepress_converters.model import TFLiteModel
from edgepress_converters.options import FORMATS, INPUT_OUTPUT_TYPES, RANGES, ConversionOptions
from edgepress_converters.worker.messages import Array

NAMED_TENSORS = 5  # in an error's message; its attribute has all


def check_options(options: ConversionOptions) -> None:
    """Refuse what does not exist, or is not built yet.

    Raises:
        UnsupportedOptionError: names the option, and what there is instead.
    """
    if options.format not in FORMATS:
        raise UnsupportedOptionError(f"there is no format {options.format!r}; there are {', '.join(FORMATS)}")
    if options.io not in INPUT_OUTPUT_TYPES:
        raise UnsupportedOptionError(f"there is no io = {options.io!r}; there are {', '.join(INPUT_OUTPUT_TYPES)}")
    if options.backend != "tflite":
        raise UnsupportedOptionError(f'backend = "{options.backend}" is not built yet; "tflite" is')
    if options.ranges not in RANGES:
        raise UnsupportedOptionError(f"there are no ranges = {options.ranges!r}; there are {', '.join(RANGES)}")
    if options.ranges == "in-model" and options.format != "int8":
        raise UnsupportedOptionError(f'ranges = "in-model" make an int8 model; got format = "{options.format}"')
    if options.calibration != "minmax" and options.needs_calibration:
        raise UnsupportedOptionError(
            f'the converters calibrate by "minmax"; ranges found by "{options.calibration}" are put into the model '
            'first (ranges = "in-model")'
        )


def calibration_samples(options: ConversionOptions, calibration: tuple[Array, ...] | None) -> tuple[Array, ...] | None:
    """Return at most ``options.calibration_samples`` samples, evenly spread; None when the format takes none.

    Raises:
        CalibrationError: the format needs data and there are none; arrays of different lengths; NaN or infinity.
    """
    if not options.needs_calibration:
        return None
    if not calibration or len(calibration[0]) == 0:
        raise CalibrationError(
            f"{options.format} takes the ranges of activations from data, and got none: give training data, "
            "or one of the formats float32, float16 and dynamic"
        )
    counts = [len(array) for array in calibration]
    if len(set(counts)) != 1:
        raise CalibrationError(f"every input needs as many calibration samples as the others; got {counts}")
    for position, array in enumerate(calibration):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CalibrationError(f"the calibration data of input {position} contain NaN or infinity")
    count = min(counts[0], options.calibration_samples)
    chosen = np.linspace(0, counts[0] - 1, count).round().astype(int)
    return tuple(array[chosen] for array in calibration)


def refuse_unexpected_float(model: TFLiteModel, options: ConversionOptions) -> None:
    """Refuse an int8 model in which something stayed float that nobody allowed.

    Raises:
        UnexpectedFloatError: names the operators, and what a recipe says to allow them; ``tensors`` has the names of
            all that they write.
    """
    if options.format != "int8":
        return
    found = [
        operator
        for operator in model.float_operators
        if operator.kind not in options.allow_float and not any(map(operator.is_of, options.allow_float))
    ]
    borders = [
        f"{kind} {spec.name}"
        for kind, specs in (("input", model.inputs), ("output", model.outputs))
        for spec in specs
        if options.io == "int8" and spec.dtype.startswith("float")
    ]
    if not found and not borders:
        return
    kinds = dict.fromkeys(operator.kind for operator in found)
    tensors = [operator.tensors[0] for operator in found]
    more = f" and {len(tensors) - NAMED_TENSORS} more" if len(tensors) > NAMED_TENSORS else ""
    places = [
        *([f"the {', the '.join(borders)}"] if borders else []),
        *([f"{', '.join(kinds)} (they make {', '.join(tensors[:NAMED_TENSORS])}{more})"] if found else []),
    ]
    allowed = list(dict.fromkeys([*options.allow_float, *kinds]))
    remedy = [
        *([f"allow_float = {json.dumps(allowed)} lets these operators compute in float"] if found else []),
        *(['io = "float32" takes and gives floats'] if borders else []),
    ]
    raise UnexpectedFloatError(
        f"not everything in the int8 model is integer: {' and '.join(places)} stayed float. {'; '.join(remedy)}",
        tuple(dict.fromkeys(tensors)),
    )
