"""Compress a Keras model, run it on your own board, believe the number.

The words of the command line, as functions::

    import edgepress

    outcome = edgepress.run("model.keras", data="data.npz", recipes=["float32", "int8"], devices=["local"])
    for row in outcome.rows:
        print(row.recipe, row.tflite_bytes, row.latency_p50_ns, row.metric_value_board)

Nothing is imported before it is used: TensorFlow, paramiko and the rest load with the first function that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgepress_agent import __version__

if TYPE_CHECKING:
    from edgepress import errors
    from edgepress.artifacts import Artifact
    from edgepress.boards import Outcome
    from edgepress.compression.pruning.gradual import GradualPruning
    from edgepress.compression.quantization.ranges import with_int8_ranges
    from edgepress.compression.recipe import Recipe, load_recipe, shipped_recipes
    from edgepress.conversion import inspect
    from edgepress.data import Dataset, InputSpec
    from edgepress.deploying import deploy
    from edgepress.devices.device import Device
    from edgepress.devices.inventory import Inventory
    from edgepress.errors import EdgepressError
    from edgepress.inference import infer
    from edgepress.pipeline import bench, compress, convert, run
    from edgepress.table.result import Result
    from edgepress.table.store import ResultStore
    from edgepress.training.settings import Training
    from edgepress_agent.protocol.messages import HealthCheck

_HOME = {
    "run": "edgepress.pipeline",
    "compress": "edgepress.pipeline",
    "convert": "edgepress.pipeline",
    "bench": "edgepress.pipeline",
    "deploy": "edgepress.deploying",
    "infer": "edgepress.inference",
    "inspect": "edgepress.conversion",
    "Outcome": "edgepress.boards",
    "Artifact": "edgepress.artifacts",
    "Recipe": "edgepress.compression.recipe",
    "load_recipe": "edgepress.compression.recipe",
    "shipped_recipes": "edgepress.compression.recipe",
    "GradualPruning": "edgepress.compression.pruning.gradual",
    "with_int8_ranges": "edgepress.compression.quantization.ranges",
    "Training": "edgepress.training.settings",
    "Dataset": "edgepress.data",
    "InputSpec": "edgepress.data",
    "Device": "edgepress.devices.device",
    "Inventory": "edgepress.devices.inventory",
    "HealthCheck": "edgepress_agent.protocol.messages",
    "Result": "edgepress.table.result",
    "ResultStore": "edgepress.table.store",
    "EdgepressError": "edgepress.errors",
}

__all__ = [
    # the job, and its arrows one by one
    "run",
    "compress",
    "convert",
    "bench",
    "deploy",
    "infer",
    "inspect",
    # for a training of your own, and for that inside of steps
    "GradualPruning",
    "with_int8_ranges",
    "Training",
    # what they take and give
    "Dataset",
    "InputSpec",
    "Recipe",
    "load_recipe",
    "shipped_recipes",
    "Device",
    "Inventory",
    "HealthCheck",
    "Artifact",
    "Outcome",
    "Result",
    "ResultStore",
    # what can go wrong
    "EdgepressError",
    "errors",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("edgepress.errors")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'edgepress' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
