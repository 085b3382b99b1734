"""Load a Keras model from a file, or say exactly why it cannot be taken."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from edgepress.errors import MissingPackageError, ModelError
from edgepress.user_code import import_user_module

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_GRAPH_CLASSES = ("Functional", "Sequential", "Model")


def import_keras() -> Any:
    """Import Keras on TensorFlow without its start-up chatter, and return the module.

    Raises:
        MissingPackageError: TensorFlow is not installed.
        ModelError: Keras is set to another backend, or to channels_first.
    """
    backend = _configured("KERAS_BACKEND", "backend", "tensorflow")
    if backend != "tensorflow":
        raise ModelError(
            f"Keras is set to the backend {backend!r}, but TFLite files are made with TensorFlow: "
            'set KERAS_BACKEND=tensorflow (or "backend" in ~/.keras/keras.json)'
        )
    image_format = _configured("KERAS_IMAGE_DATA_FORMAT", "image_data_format", "channels_last")
    if image_format != "channels_last":
        raise ModelError(
            f"Keras is set to image_data_format {image_format!r}, but TFLite kernels are channels_last: "
            'set "image_data_format": "channels_last" in ~/.keras/keras.json'
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _silent_start():
            import keras
            import tensorflow as tf

            tf.config.list_physical_devices()  # looks for GPUs, and complains aloud of none
    except ImportError as error:
        raise MissingPackageError(
            f"this needs TensorFlow and Keras ({error}): pip install 'edgepress[compress]'"
        ) from error
    return keras


def load_model(path: Path, imports: Sequence[str] = ()) -> Any:
    """Load a Keras 3 model (``.keras``, or an ``.h5`` that Keras 3 can read).

    Args:
        imports: modules with the custom layers, losses and metrics that the model uses; imported before the file is
            read. From then on Keras knows their classes and functions by name, decorated or not.

    Raises:
        ModelError: the file is no such model, or a model that edgepress cannot take. The message says which and why.
        MissingPackageError: TensorFlow is not installed.
    """
    path = Path(path)
    configuration = inspect_file(path)
    keras = import_keras()
    importlib.import_module("edgepress.compression.quantization.layers")  # models with ranges for int8 have such layers
    for module in imports:
        _make_known(keras, import_user_module(module, ModelError, "named by --import"))
    try:
        with warnings.catch_warnings():
            # Of a model compiled but never trained; training here starts with a fresh optimizer anyway.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model = keras.models.load_model(path)
    except Exception as error:  # Keras raises many kinds for a file it cannot read; all mean the same to the user
        raise _explain(path, configuration, error) from error
    check_supported(model)
    return model


def check_supported(model: Any) -> None:
    """Check that a model is a graph that can be compressed and converted.

    Raises:
        ModelError: it is subclassed, has layers that are channels_first or keep their state, takes words, or a
            dimension other than the batch is not fixed.
    """
    from edgepress.compression.graph.reader import read

    graph = read(model)
    for name, layer in graph.layers().items():
        if getattr(layer, "data_format", None) == "channels_first":
            raise ModelError(
                f"layer {name!r} ({type(layer).__name__}) is channels_first; TFLite kernels are channels_last: "
                "build the model with data_format='channels_last'"
            )
        if getattr(layer, "stateful", False):
            raise ModelError(
                f"layer {name!r} ({type(layer).__name__}) keeps its state from one call to the next (stateful=True), "
                "but the samples of a data set do not follow each other: build it with stateful=False, and load the "
                "weights into it"
            )
    for tensor in model.inputs:
        if tensor.dtype == "string":
            raise ModelError(
                f"input {tensor.name!r} takes words; a .tflite file is given numbers: look the words up in the data "
                "function, and build the model from what comes behind its StringLookup or TextVectorization"
            )
        if any(size is None for size in tensor.shape[1:]):
            raise ModelError(
                f"input {tensor.name!r} has the shape {tuple(tensor.shape)}: only the batch may be open. Build the "
                "model with the size it will run at, e.g. keras.Input((96, 96, 3)), and load the weights into it"
            )


def inspect_file(path: Path) -> dict[str, Any]:
    """Look at a file without Keras; return what it says of itself: ``keras_version`` and the model's ``class_name``.

    Raises:
        ModelError: it is not there, or is no Keras file, or a damaged one.
    """
    if not path.exists():
        beside = sorted(p.name for p in path.parent.glob("*.keras")) if path.parent.is_dir() else []
        found = f"; in that folder there are: {', '.join(beside)}" if beside else ""
        raise ModelError(f"there is no file {path}{found}")
    if path.is_dir():
        kind = "a TensorFlow SavedModel" if (path / "saved_model.pb").exists() else "a folder"
        raise ModelError(f"{path} is {kind}, not a Keras file: save the model with model.save('model.keras')")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    if head == _HDF5_SIGNATURE:
        return _inspect_hdf5(path)
    if head[:2] == b"PK":
        return _inspect_zip(path)
    if head[4:8] == b"TFL3":
        raise ModelError(f"{path} is a TFLite model already; compression starts from the Keras model it was made from")
    raise ModelError(
        f"{path} is not a Keras file (it is neither the zip of a .keras nor HDF5): "
        "save the model with model.save('model.keras')"
    )


def model_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_known(keras: Any, module: ModuleType) -> None:
    """Let Keras find a module's own classes and functions in files.

    Keras looks up only what is decorated with ``register_keras_serializable``; most custom layers are not, and those of
    a training script were saved under the name ``__main__``.
    """
    package = module.__name__.partition(".")[0]
    keras.saving.get_custom_objects().update(
        {
            name: value
            for name, value in vars(module).items()
            if isinstance(value, type | FunctionType) and value.__module__.partition(".")[0] == package
        }
    )


@contextmanager
def _silent_start() -> Iterator[None]:
    """Keep TensorFlow's first lines from the terminal: they are written to file descriptor 2 before any of its settings
    is read. An import that fails still raises."""
    if "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _configured(variable: str, key: str, default: str) -> str:
    """What Keras will take when it is imported: the environment, then its configuration file, then its default."""
    if variable in os.environ:
        return os.environ[variable]
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return str(json.loads((home / "keras.json").read_text()).get(key, default))
    except (OSError, ValueError, AttributeError):  # absent or broken: Keras ignores it as well
        return default


def _inspect_zip(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            missing = {"metadata.json", "config.json", "model.weights.h5"} - set(archive.namelist())
            if missing:
                raise ModelError(
                    f"{path} is a zip, but not of a Keras model ({', '.join(sorted(missing))} missing): "
                    "save the model with model.save('model.keras')"
                )
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelError(f"{path} is damaged: {damaged} in it has a wrong checksum. Save or copy it again")
            metadata = json.loads(archive.read("metadata.json"))
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ModelError(f"{path} is a truncated or damaged .keras file ({error}): save or copy it again") from error
    except ValueError as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} is a .keras file whose JSON is damaged ({error}): save it again") from error
    return {"keras_version": str(metadata.get("keras_version", "")), "class_name": str(config.get("class_name", ""))}


def _inspect_hdf5(path: Path) -> dict[str, Any]:
    try:
        import h5py
    except ImportError as error:
        raise MissingPackageError("reading .h5 files needs TensorFlow: pip install 'edgepress[compress]'") from error
    try:
        with h5py.File(path) as file:
            attributes = dict(file.attrs)
    except OSError as error:
        raise ModelError(f"{path} is a truncated or damaged HDF5 file ({error}): save or copy it again") from error
    if "model_config" not in attributes:
        raise ModelError(
            f"{path} is an HDF5 file without a model in it, probably weights only: build the model, "
            "model.load_weights(...) and save it with model.save('model.keras')"
        )
    config = json.loads(attributes["model_config"])
    return {
        "keras_version": str(attributes.get("keras_version", "")),
        "class_name": str(config.get("class_name", "")),
    }


def _explain(path: Path, configuration: dict[str, Any], error: Exception) -> ModelError:
    """Turn what Keras said into what is wrong and what to do."""
    said = str(error)
    version = configuration["keras_version"]
    unknown = re.search(r"Could not locate (?:class|function) '([^']+)'", said) or re.search(
        r"Unknown (?:layer|object|[\w ]*): '?([\w>]+)'?", said
    )
    if unknown is not None:
        name = unknown.group(1).split(">")[-1]
        if name == configuration["class_name"] and name not in _GRAPH_CLASSES:
            return ModelError(
                f"{path} holds a subclassed model (class {name}): its graph is hidden in Python code. "
                "Build it with the functional API: inputs = keras.Input(...); model = keras.Model(inputs, outputs)"
            )
        return ModelError(
            f"{path} uses the class {name!r}, which is not part of Keras: name the module that defines it "
            "with --import MODULE"
        )
    if "Lambda" in said and "safe_mode" in said:
        return ModelError(
            f"{path} has a Lambda layer, whose Python code would run on loading: make it a layer class of a module "
            "and name that module with --import MODULE"
        )
    if "Python lambda" in said:
        return ModelError(
            f"{path} has a lambda, as its loss, a metric or an activation, say, whose code would run on loading: put a "
            "function of a module in its place, save the model again and name that module with --import MODULE"
        )
    first_line = said.strip().splitlines()[0] if said.strip() else repr(error)
    if version.startswith("2."):
        return ModelError(
            f"{path} was saved by Keras {version}, and Keras 3 cannot read it ({first_line}). In the environment that "
            "made it, save only the weights (model.save_weights('model.weights.h5')); then build the same model with "
            "Keras 3, load them and model.save('model.keras')"
        )
    return ModelError(f"Keras cannot read {path} (saved by Keras {version or 'unknown'}): {first_line}")
