"""A float TFLite file in fewer bits, by ai-edge-quantizer."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_converters.errors import ConversionRefusedError, MissingPackageError
from edgepress_converters.flatbuffer import read_model
from edgepress_converters.model import FloatOperator
from edgepress_converters.options import ALL_OPERATORS, ConversionOptions
from edgepress_converters.signature import SIGNATURE
from edgepress_converters.worker.messages import Array, samples_of

_ACTIVATION_BITS = {"int8": 8, "int16x8": 16}


def quantize(content: bytes, options: ConversionOptions, calibration: tuple[Array, ...]) -> bytes:
    """Quantize a float32 file as the options say.

    Raises:
        MissingPackageError: ai-edge-quantizer is not installed.
        ConversionRefusedError: no operator is called as ``options.int4_weights`` says.
    """
    try:
        from ai_edge_quantizer.calibrator import Calibrator
        from ai_edge_quantizer.quantizer import Quantizer
        from ai_edge_quantizer.recipe_manager import RecipeManager
    except ImportError as error:
        raise MissingPackageError(
            f'backend = "ai-edge-quantizer" needs a package of that name, which cannot be imported: {error}. '
            "Install it: pip install ai-edge-quantizer"
        ) from error
    rules = RecipeManager()
    if options.format != "float32":
        _add_rule(rules, options, ".*", 8)
    for pattern in _int4_patterns(content, options.int4_weights):
        _add_rule(rules, options, pattern, 4)
    if options.format in _ACTIVATION_BITS and not (options.format == "int8" and options.io == "int8"):
        for border in ("INPUT", "OUTPUT"):
            rules.add_quantization_config("", border, algorithm_key="no_quantize")
    ranges = None
    if calibration:
        calibrator = Calibrator(content, os.cpu_count() or 1, qsv_update_func=_widen)
        calibrator.calibrate({SIGNATURE: list(samples_of(calibration))}, rules)  # of an iterator it takes nothing
        ranges = calibrator.get_model_qsvs()
    quantizer = Quantizer(content, rules.get_quantization_recipe())
    return bytes(quantizer.quantize(ranges, enable_progress_report=False).quantized_model)


def _widen(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Ranges from the smallest to the largest value seen. The library's own choice, a moving average over samples one
    at a time, cut off up to half of an output's range in our tests."""
    if not known:
        return new
    return {"min": np.minimum(known["min"], new["min"]), "max": np.maximum(known["max"], new["max"])}


def _add_rule(rules: Any, options: ConversionOptions, pattern: str, weight_bits: int) -> None:
    """Of the rules for an operator the last counts that the library can do. All outputs match "" as they do ".*"."""
    if options.format in _ACTIVATION_BITS:
        rules.add_static_config(pattern, "*", _ACTIVATION_BITS[options.format], weight_bits)
    elif options.format == "dynamic":
        rules.add_dynamic_config(pattern, "*", weight_bits)
    else:
        rules.add_weight_only_config(pattern, "*", weight_bits)


def _int4_patterns(content: bytes, wanted: tuple[str, ...]) -> list[str]:
    """Return patterns of the outputs of operators whose weights get 4 bits."""
    if not wanted:
        return []
    if ALL_OPERATORS in wanted:
        return [""]
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(content)
        file.flush()
        operators = read_model(Path(file.name)).float_operators
    return [f"^{re.escape(operator.tensors[0])};" for name in wanted for operator in _called(name, operators)]


def _called(name: str, operators: tuple[FloatOperator, ...]) -> list[FloatOperator]:
    found = [operator for operator in operators if operator.kind == name or operator.is_of(name)]
    if not found:
        kinds = sorted({operator.kind for operator in operators})
        raise ConversionRefusedError(
            f"int4_weights names {name!r}, which is neither an operator of the model nor a layer that is found in it; "
            f'its operators are {", ".join(kinds)}, and "{ALL_OPERATORS}" is all of them'
        )
    return found
