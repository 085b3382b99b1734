"""Errors of conversion. This package knows nothing of the host's, which translates them at one place.

::

    ConverterError
    ├── NotTFLiteError          the file is no TFLite flatbuffer
    ├── UnsupportedModelError   a Keras model that cannot be exported: no fixed graph, open dimensions
    ├── ConversionRefusedError  the converter raised: says what it said
    ├── UnexpectedFloatError    a float tensor in a model that should be integer; ``tensors`` names them
    ├── RuntimeRefusesError     a TFLite runtime that was named, or every known one, does not take the file
    ├── RunRefusedError         the host's TFLite runtime raised while it loaded or ran a model
    ├── WorkerDiedError         the worker process was killed: ``signal`` and ``task``
    ├── CalibrationError        calibration data are missing or cannot be used
    ├── MissingPackageError     there is no TensorFlow, or no ai-edge-quantizer, in this environment
    └── UnsupportedOptionError  an option that does not exist, or does not go with the others
"""

from __future__ import annotations


class ConverterError(Exception):
    """Root of this package's errors."""


class NotTFLiteError(ConverterError):
    """The file is no TFLite flatbuffer, or a truncated one."""


class UnsupportedModelError(ConverterError):
    """A Keras model that cannot be exported: it has no fixed graph, or an open dimension besides the batch."""


class ConversionRefusedError(ConverterError):
    """The TFLite converter refused the model."""


class UnexpectedFloatError(ConverterError):
    """A float tensor in a model that should be integer throughout."""

    def __init__(self, message: str, tensors: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.tensors = tensors


class RuntimeRefusesError(ConverterError):
    """A TFLite runtime that was named, or every known one, does not take the file."""


class RunRefusedError(ConverterError):
    """The host's TFLite runtime raised while it loaded or ran a model."""


class WorkerDiedError(ConverterError):
    """The worker process was killed by a signal or exited; ``signal`` is empty when it exited."""

    def __init__(self, message: str, signal: str = "", task: str = "") -> None:
        super().__init__(message)
        self.signal = signal
        self.task = task


class CalibrationError(ConverterError):
    """Calibration data are missing, or cannot be used."""


class MissingPackageError(ConverterError):
    """There is no TensorFlow, or no ai-edge-quantizer, in this environment."""


class UnsupportedOptionError(ConverterError):
    """An option that does not exist, or does not go with the others."""
