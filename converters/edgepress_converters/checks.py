"""What is checked before a conversion, and on its result."""

from __future__ import annotations

import json

import numpy as np

from edgepress_converters import runtimes
from edgepress_converters.errors import (
    CalibrationError,
    ConversionRefusedError,
    RuntimeRefusesError,
    UnexpectedFloatError,
    UnsupportedOptionError,
)
from edgepress_converters.model import TFLiteModel
from edgepress_converters.options import BACKENDS, FORMATS, INPUT_OUTPUT_TYPES, RANGES, ConversionOptions
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
    if options.backend not in BACKENDS:
        raise UnsupportedOptionError(f"there is no backend {options.backend!r}; there are {', '.join(BACKENDS)}")
    _check_backend(options)
    for wanted in options.runtimes:
        if not wanted.partition("==")[2]:
            raise UnsupportedOptionError(f"a runtime is wanted as NAME==VERSION; got {wanted!r}")
    if options.ranges not in RANGES:
        raise UnsupportedOptionError(f"there are no ranges = {options.ranges!r}; there are {', '.join(RANGES)}")
    if options.ranges == "in-model" and options.format != "int8":
        raise UnsupportedOptionError(f'ranges = "in-model" make an int8 model; got format = "{options.format}"')
    if options.calibration != "minmax" and options.needs_calibration:
        raise UnsupportedOptionError(
            f'the converters calibrate by "minmax"; ranges found by "{options.calibration}" are put into the model '
            'first (ranges = "in-model")'
        )


def _check_backend(options: ConversionOptions) -> None:
    if options.backend == "tflite":
        if options.int4_weights:
            raise UnsupportedOptionError(
                'int4_weights need backend = "ai-edge-quantizer": TensorFlow\'s converter makes none'
            )
        return
    if options.format == "float16" or (options.format == "float32" and not options.int4_weights):
        raise UnsupportedOptionError(
            f'backend = "ai-edge-quantizer" makes dynamic, int8, int16x8, and float32 with int4_weights; '
            f'format = "{options.format}" comes from backend = "tflite"'
        )
    if options.ranges == "in-model" or options.sparse:
        what = "sparse" if options.sparse else 'ranges = "in-model"'
        raise UnsupportedOptionError(f'{what} needs backend = "tflite": ai-edge-quantizer starts from a float model')


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


def refuse_no_int4(model: TFLiteModel, options: ConversionOptions) -> None:
    """Refuse a model without any int4 weights where some were asked for: not every operator can have them.

    Raises:
        ConversionRefusedError: says which were asked for.
    """
    if options.int4_weights and "INT4" not in dict(model.tensor_types):
        raise ConversionRefusedError(
            f"ai-edge-quantizer has no int4 weights for what int4_weights names ({', '.join(options.int4_weights)}); "
            "it has them for FULLY_CONNECTED, CONV_2D and GATHER"
        )


def refuse_what_runtimes_do_not_take(model: TFLiteModel, options: ConversionOptions) -> None:
    """Refuse a model that a runtime does not take which the options name, or that no known runtime takes: converters
    write operators for which there are no kernels (SQUARED_DIFFERENCE in ``int16x8``).

    Raises:
        RuntimeRefusesError: says why, and what to do.
    """
    refusals = [runtimes.incompatibilities(model, *runtime) for runtime in runtimes.known()]
    if all(refusals):
        fewest = min(refusals, key=len)
        raise RuntimeRefusesError(f"no known runtime takes it: {'; '.join(fewest)}. {runtimes.remedy(model)}")
    for wanted in options.runtimes:
        name, _, version = wanted.partition("==")
        reasons = runtimes.incompatibilities(model, name, version)
        if reasons:
            raise RuntimeRefusesError(
                f"{name} {version} does not take it: {'; '.join(reasons)}. {runtimes.remedy(model)}"
            )


def refuse_unexpected_float(model: TFLiteModel, options: ConversionOptions) -> None:
    """Refuse an ``int8`` or ``int16x8`` model in which something stayed float that nobody allowed.

    Raises:
        UnexpectedFloatError: names the operators, and what a recipe says to allow them; ``tensors`` has the names of
            all that they write.
    """
    if not options.computes_in_integers:
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
        if options.format == "int8" and options.io == "int8" and spec.dtype.startswith("float")
    ]
    if not found and not borders:
        return
    kinds = dict.fromkeys(operator.kind for operator in found)
    tensors = [name for operator in found for name in operator.tensors[:1]]  # what assigns a variable writes none
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
        f"not everything in the {options.format} model is integer: {' and '.join(places)} stayed float. "
        f"{'; '.join(remedy)}",
        tuple(dict.fromkeys(tensors)),
    )
