"""What a conversion should produce."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Format = Literal["float32", "float16", "dynamic", "int8", "int16x8"]
InputOutputType = Literal["float32", "int8"]
Backend = Literal["tflite", "ai-edge-quantizer"]
Calibration = Literal["minmax", "percentile", "mse"]
Ranges = Literal["calibrated", "in-model"]

FORMATS: tuple[Format, ...] = get_args(Format)
INPUT_OUTPUT_TYPES: tuple[InputOutputType, ...] = get_args(InputOutputType)
BACKENDS: tuple[Backend, ...] = get_args(Backend)
ALL_OPERATORS = "*"
RANGES: tuple[Ranges, ...] = get_args(Ranges)
CALIBRATED_FORMATS: tuple[Format, ...] = ("int8", "int16x8")


@dataclass(frozen=True)
class ConversionOptions:
    """How a Keras model becomes a TFLite file. Compression steps may return a copy with more in it.

    Attributes:
        format: ``float32``; ``float16`` (weights); ``dynamic`` (int8 weights, float activations); ``int8`` (int8
            weights and activations); ``int16x8`` (int8 weights, int16 activations).
        io: type of inputs and outputs of an ``int8`` model. Ignored by the other formats, whose I/O is float32.
        backend: who quantizes after training: TensorFlow's converter, or ai-edge-quantizer what that one wrote.
        int4_weights: whose weights get 4 bits, by ai-edge-quantizer: operators by their TFLite name, layers by their
            name in the Keras model, or ``*`` for all that it can. The others are as the format says; in ``float32``
            everything computes in float and only the named weights are stored in 4 bits.
        calibration: by which rule ranges are taken from the calibration data. The converters know ``minmax``; what
            another rule found comes to them ``in-model``.
        ranges: where an ``int8`` model's ranges come from: ``calibrated`` on samples while it is converted, or
            ``in-model``: fake-quantization operations stand in the Keras model (they say it for weights as well), and
            no samples are needed.
        calibration_samples: how many training samples the ranges are taken from, at most.
        allow_float: what may stay float in an ``int8`` or ``int16x8`` model: operators by their TFLite name (``NEG``),
            and layers by the name that they have in the Keras model. Any other float operator there is an error.
        runtimes: each of these (``NAME==VERSION``) has to take the file, or it is refused.
        sparse: leave zeros out of the file where the converter thinks that it pays (30 % of a kernel and more).
        repack: write the file without what no runtime reads, names of tensors among it; None: if it is below 8 MiB.
    """

    format: Format = "float32"
    io: InputOutputType = "int8"
    backend: Backend = "tflite"
    int4_weights: tuple[str, ...] = ()
    calibration: Calibration = "minmax"
    ranges: Ranges = "calibrated"
    calibration_samples: int = 200
    allow_float: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    sparse: bool = False
    repack: bool | None = None

    def __post_init__(self) -> None:
        for name in ("int4_weights", "allow_float", "runtimes"):  # lists, where options were read from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def needs_calibration(self) -> bool:
        """Whether samples of the inputs are needed."""
        return self.computes_in_integers and self.ranges == "calibrated"

    @property
    def computes_in_integers(self) -> bool:
        """Whether activations are integers, too."""
        return self.format in CALIBRATED_FORMATS
