"""Every error that edgepress raises on purpose.

::

    EdgepressError
    ├── InputError (ValueError)         what the user handed in cannot be used
    │   ├── ModelError                      not Keras 3, subclassed, channels_first, unknown layer, no TFLite
    │   ├── DataError                       shape, label range, NaN, missing arrays
    │   ├── RecipeError                     a recipe's key or value
    │   └── MetricError                     no metric to judge by, or none of that name
    ├── MissingPackageError (ImportError)   an extra of edgepress that is not installed
    ├── MissingProgramError             a program that is not installed: names the package that has it
    ├── CompressionError                a step could not do its work
    ├── ConversionError                 the converter refused or died, or gave what was not asked for
    │   ├── UnexpectedFloatError            a float tensor in a model that should be integer
    │   └── WorkerDied                      the process that converts or runs was killed: names file, step and signal
    ├── RuntimeCompatibilityError       no runtime on the device takes this model's operators
    ├── DeviceError                     attribute ``device``
    │   ├── UnknownDeviceError (KeyError)   not in the inventory
    │   ├── InventoryError                  devices.toml cannot be read or written
    │   ├── TransportError (ConnectionError)
    │   │   ├── UnreachableError                no route, refused, time-out
    │   │   ├── AuthenticationError             no key was accepted
    │   │   ├── UnknownHostKeyError             first contact: accept its fingerprint with `device trust`
    │   │   ├── ChangedHostKeyError             always refused
    │   │   └── LinkLostError                   the connection ended; jobs go on and can be collected
    │   ├── ProvisioningError               no runtime fits the board, or its installation failed
    │   ├── AgentError                      the agent answered with an error; attribute ``code``
    │   │   ├── ProtocolError                   the board sent what the protocol does not allow
    │   │   ├── DiskFullError (OSError)
    │   │   ├── ModelRejectedError              the board's runtime refuses the file
    │   │   ├── ModelKilledWorkerError          the board's runtime died of the file; attribute ``signal``
    │   │   └── JobError                        a job failed, passed its deadline or was cancelled
    │   ├── DeploymentError                 the release was not activated; the old one is still in use
    │   └── EmulatorError                   a QEMU machine could not be built, started or told what to do
    ├── OutputCheckError                the board's outputs are wrong
    └── TableError                      the database cannot be opened, is newer than this edgepress, or refuses a row

Messages say what was wanted, what was got, what exists, and what to do next. Where a builtin fits, an error is also
one.
"""

from __future__ import annotations


class EdgepressError(Exception):
    """Root of all errors raised on purpose."""

    def __str__(self) -> str:  # KeyError would print the repr of its message
        return str(self.args[0]) if self.args else ""


class InputError(EdgepressError, ValueError):
    """What the user handed in cannot be used."""


class ModelError(InputError):
    """A file that is not a model edgepress can take."""


class DataError(InputError):
    """Data that do not fit the model or each other."""


class RecipeError(InputError):
    """A recipe's key or value."""


class MetricError(InputError):
    """No metric to judge by, or none of that name."""


class MissingPackageError(EdgepressError, ImportError):
    """A package that an extra of edgepress brings is not installed."""


class MissingProgramError(EdgepressError):
    """A program outside of Python is not installed."""


class CompressionError(EdgepressError):
    """A compression step could not do its work."""


class ConversionError(EdgepressError):
    """The converter refused, or gave what was not asked for."""


class UnexpectedFloatError(ConversionError):
    """A float tensor in a model that the recipe asked to be integer throughout."""


class WorkerDied(ConversionError):
    """The process that converts or runs models was killed."""


class RuntimeCompatibilityError(EdgepressError):
    """No runtime of the device takes this model's operators."""


class OutputCheckError(EdgepressError):
    """The board's outputs are not those of the model."""


class TableError(EdgepressError):
    """The table of results cannot be opened or refuses a row."""


class DeviceError(EdgepressError):
    """Anything about one device; ``device`` is its name in the inventory (or None)."""

    def __init__(self, message: str, device: str | None = None) -> None:
        super().__init__(message)
        self.device = device


class UnknownDeviceError(DeviceError, KeyError):
    """No device of that name in the inventory."""


class InventoryError(DeviceError):
    """devices.toml cannot be read or written."""


class TransportError(DeviceError, ConnectionError):
    """The device cannot be reached."""


class UnreachableError(TransportError):
    """No route, connection refused, or no answer in time."""


class AuthenticationError(TransportError):
    """The device accepted none of the keys offered."""


class UnknownHostKeyError(TransportError):
    """First contact: nobody has accepted this host key yet. ``fingerprint`` is what the device showed."""

    def __init__(self, message: str, device: str | None = None, fingerprint: str = "") -> None:
        super().__init__(message, device)
        self.fingerprint = fingerprint


class ChangedHostKeyError(TransportError):
    """The host key is not the one accepted earlier."""


class LinkLostError(TransportError):
    """The connection ended in the middle of something."""


class ProvisioningError(DeviceError):
    """The device cannot be made ready."""


class AgentError(DeviceError):
    """The agent answered with an error. ``code`` is one of ``edgepress_agent.protocol.messages.ERROR_CODES``."""

    def __init__(self, message: str, device: str | None = None, code: str = "internal") -> None:
        super().__init__(message, device)
        self.code = code


class ProtocolError(AgentError):
    """The board sent what the protocol does not allow."""


class DiskFullError(AgentError, OSError):
    """The board's disk has no room."""


class ModelRejectedError(AgentError):
    """The board's runtime refuses the model."""


class ModelKilledWorkerError(AgentError):
    """The board's runtime died of the model; the agent lives. ``signal`` is its name, e.g. "SIGSEGV"."""

    def __init__(self, message: str, device: str | None = None, code: str = "worker-killed", signal: str = "") -> None:
        super().__init__(message, device, code)
        self.signal = signal


class JobError(AgentError):
    """A job failed, passed its deadline or was cancelled. ``job_id`` names it on the board."""

    def __init__(self, message: str, device: str | None = None, code: str = "internal", job_id: str = "") -> None:
        super().__init__(message, device, code)
        self.job_id = job_id


class DeploymentError(DeviceError):
    """The release was not activated; the one before it is still in use."""


class EmulatorError(DeviceError):
    """A QEMU machine, or the image of one, could not be had."""
