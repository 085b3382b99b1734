"""A release as the application uses it that it was deployed for::

    import edgepress_agent

    classifier = edgepress_agent.load("classifier")
    while True:
        if classifier.changed():
            classifier = edgepress_agent.load("classifier")
        print(classifier.predict(picture).top())

Needs numpy and the TFLite runtime of the manifest: run it with the Python that the manifest names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple, Union

from edgepress_agent.faults import Fault
from edgepress_agent.home import Home
from edgepress_agent.interpreter import MODULES, Model, import_runtime
from edgepress_agent.protocol.codec import loads
from edgepress_agent.releases import MANIFEST, MODEL

if TYPE_CHECKING:
    from edgepress_agent.protocol.tensors import Array


@dataclass(frozen=True)
class Prediction:
    """What a model answered for one input.

    Attributes:
        outputs: real values (float32), one array per model output, in model order, without the batch.
        labels: names of the first output's entries; empty when the manifest has none.
    """

    outputs: Tuple[Array, ...]
    labels: Tuple[str, ...]

    def top(self, count: int = 1) -> List[Tuple[str, float]]:
        """Return the largest entries of the first output, largest first, with their labels (or positions)."""
        values = self.outputs[0].ravel()
        named = len(self.labels) == values.size
        order = sorted(range(values.size), key=lambda entry: -values[entry])[:count]
        return [(self.labels[entry] if named else str(entry), float(values[entry])) for entry in order]


class Application:
    """One release, loaded. It stays what it is when another one is deployed: :meth:`changed` tells. Not for several
    threads at once.

    Attributes:
        app, release: its names.
        manifest: what was deployed with it: hash, recipe, inputs, outputs, runtime.
        labels: names of the first output's classes; empty when unknown.
        interpreter: the runtime's own, allocated, for everything else.
    """

    def __init__(self, app: str, folder: Path, threads: int) -> None:
        self.app = app
        self._current = folder / "current"
        # One look at the link: manifest and model are of the same release, whatever is deployed meanwhile.
        release = self._current.resolve(strict=True)
        self.release = release.name
        self.manifest: Dict[str, Any] = loads((release / MANIFEST).read_bytes())
        spec = self.manifest.get("input_spec") or {}
        self.labels: Tuple[str, ...] = tuple(spec.get("labels") or ())
        self._mean, self._scale = tuple(spec.get("mean") or (0.0,)), tuple(spec.get("scale") or (1.0,))
        self._model = Model(_runtime(self.manifest), str(release / MODEL), threads, "default")
        self._model.allocate(_positions(self.manifest, "inputs"), _positions(self.manifest, "outputs"))
        self.interpreter = self._model.interpreter

    def predict(self, *inputs: Union[Array, List[Any]]) -> Prediction:
        """Run the model once.

        Args:
            inputs: one array per model input, in model order, with or without the batch of 1: raw values as the camera
                or file gives them, in the colour order of ``manifest["input_spec"]``. Mean and scale of the input
                spec are applied and the values quantized as the model wants them.

        Raises:
            ValueError: another number of inputs than the model has, or other shapes.
            RuntimeError: the runtime failed.
        """
        import numpy as np

        shapes = self._model.input_shapes
        if len(inputs) != len(shapes):
            raise ValueError(f"{self.app} takes {len(shapes)} inputs, got {len(inputs)}")
        sample = []
        for position, (given, shape) in enumerate(zip(inputs, shapes)):
            array = np.asarray(given)
            if array.shape not in (shape, shape[1:]):
                raise ValueError(f"input {position} of {self.app} takes {shape[1:]}, got {array.shape}")
            sample.append(self._prepared(array.reshape(shape)))
        try:
            self._model.set_inputs(self._model.quantized(sample))
            self._model.invoke()
        except (Fault, ValueError) as error:
            raise RuntimeError(f"{self.app} {self.release} failed: {error}") from error
        return Prediction(self._model.real_outputs(), self.labels)

    def changed(self) -> bool:
        """Say whether the application has another release by now, or none any more. Costs one system call."""
        try:
            return self._current.readlink().name != self.release
        except FileNotFoundError:
            return True

    def _prepared(self, array: Array) -> Array:
        import numpy as np

        if set(self._mean) == {0.0} and set(self._scale) == {1.0}:
            return array  # ids stay integers
        prepared: Array = (array - np.asarray(self._mean, np.float32)) / np.asarray(self._scale, np.float32)
        return prepared


def load(app: str, home: Union[str, os.PathLike[str], None] = None, threads: int = 1) -> Application:
    """Load the current release of an application of this board; see :func:`edgepress_agent.load`."""
    apps = (Home(Path(home)) if home is not None else Home.from_environment(os.environ)).apps
    while True:
        folder = apps / app
        before = _link(folder)
        if before is None:
            there = ", ".join(sorted(path.parent.name for path in apps.glob("*/current"))) or "none"
            raise LookupError(f"no application {app!r} in {apps}; there is {there}")
        try:
            return Application(app, folder, threads)
        except FileNotFoundError:
            if _link(folder) == before:  # not just replaced and thrown away
                raise


def _link(folder: Path) -> Optional[Path]:
    try:
        return (folder / "current").readlink()
    except FileNotFoundError:
        return None


def _runtime(manifest: Mapping[str, Any]) -> Any:
    """Import the runtime that the release was tried with, or else any other.

    Raises:
        ImportError: this Python has none.
    """
    tried = manifest.get("runtime") or {}
    for name in dict.fromkeys((tried.get("name"), *MODULES)):
        if name in MODULES:
            try:
                return import_runtime(name)
            except Fault:
                continue
    hint = f": run this program with {tried['python']}" if tried.get("python") else ""
    raise ImportError(f"this Python has no TFLite runtime (of {', '.join(MODULES)}){hint}")


def _positions(manifest: Mapping[str, Any], what: str) -> Tuple[int, ...]:
    return tuple(tensor["position"] for tensor in manifest.get(what) or ())
