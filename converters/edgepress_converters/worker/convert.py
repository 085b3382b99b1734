"""SavedModel to TFLite, by TensorFlow's converter, which may leave quantizing to another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgepress_converters.errors import ConversionRefusedError, ConverterError, MissingPackageError
from edgepress_converters.options import ConversionOptions
from edgepress_converters.signature import SIGNATURE
from edgepress_converters.worker.messages import Array, Message, load_arrays, samples_of
from edgepress_converters.worker.quantize import quantize

MAX_REASON_CHARACTERS = 400


def convert(request: Message) -> None:
    """Convert as a "convert" request asks and write the file.

    Raises:
        ConversionRefusedError: whatever the converter raised, in one line.
        MissingPackageError: there is no TensorFlow, or no ai-edge-quantizer.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingPackageError(f"conversion needs TensorFlow, which cannot be imported: {error}") from error
    options = ConversionOptions(**request["options"])
    calibration = load_arrays(Path(request["calibration"])) if request["calibration"] else ()
    try:
        converter = tf.lite.TFLiteConverter.from_saved_model(request["saved_model"], signature_keys=[SIGNATURE])
        configure(converter, options, calibration)
        content = converter.convert()
        if options.backend == "ai-edge-quantizer":
            content = quantize(content, options, calibration)
    except ConverterError:
        raise
    except Exception as error:  # the converters' exceptions have no common class
        raise ConversionRefusedError(reason(error) + _instead(options, error)) from error
    Path(request["output"]).write_bytes(content)


def configure(converter: Any, options: ConversionOptions, calibration: tuple[Array, ...]) -> None:
    """Set a ``TFLiteConverter`` up for a format. Operators of TensorFlow itself (SELECT_TF_OPS) are never allowed: no
    runtime on a board has them."""
    import tensorflow as tf

    if options.backend == "ai-edge-quantizer":
        return  # which quantizes a float32 file
    if options.format != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if options.sparse:
        converter.optimizations = [*converter.optimizations, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        # The sparse kernels of tflite-runtime 2.14 take the first of several scales for all, and answer garbage.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if options.format == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if options.format == "dynamic":
        # Since TF 2.17 dense weights get a scale per channel, which needs FULLY_CONNECTED v12; tflite-runtime 2.14, the
        # only runtime for 32-bit boards, ends at v10. One scale per tensor gives v9, which every runtime takes.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if options.needs_calibration:
        converter.representative_dataset = lambda: samples_of(calibration)
    if options.format == "int8":
        if options.ranges == "calibrated":  # with it, ranges in the model alone are refused
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if options.io == "int8":
            converter.inference_input_type = converter.inference_output_type = tf.int8
    if options.format == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,  # in float, what has no such kernel: refused afterwards, by name
        ]


_NO_OPERATOR = re.compile(r"^(?:TF Select|Custom) ops: (.+)$", re.MULTILINE)
_LOCATED = re.compile(r"\"([\w.]+):\", \"([^\"@]+)@")
_MLIR_ERROR = re.compile(r"error: (?:loc\(.*\): )?(.+)")


def reason(error: Exception) -> str:
    """Return what the converter said in one line: without MLIR's dump of the program, with the operator's name and,
    where it is known, the layer's."""
    text = str(error)
    missing = [name.strip() for names in _NO_OPERATOR.findall(text) for name in names.split(",")]
    if missing:
        places = dict(_LOCATED.findall(text))
        named = [f"{name} (at {places[name].rsplit('/', 1)[0]})" if name in places else name for name in missing]
        return f"TFLite has no operator for TensorFlow's {', '.join(named)}"
    found = _MLIR_ERROR.search(text)
    if found:
        return _shorten(found[1])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _shorten(" ".join(dict.fromkeys(lines)) or type(error).__name__)


def _instead(options: ConversionOptions, error: Exception) -> str:
    if not options.computes_in_integers or _NO_OPERATOR.search(str(error)):
        return ""
    formats = "int8, dynamic, float16 and float32" if options.format == "int16x8" else "dynamic, float16 and float32"
    other = options.backend == "tflite" and options.ranges == "calibrated"  # there is no other for ranges in the model
    backend = ', and so may backend = "ai-edge-quantizer"' if other else ""
    return f". The formats {formats} ask less of a model{backend}"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_REASON_CHARACTERS else text[: MAX_REASON_CHARACTERS - 1] + "…"
