"""A Keras model as a SavedModel: what the worker converts.

Runs where the model lives, so that custom layers need not be importable in the worker.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress_converters.errors import UnsupportedModelError
from edgepress_converters.recurrent import steps_written_out
from edgepress_converters.signature import SIGNATURE, input_name, output_name

if TYPE_CHECKING:
    import keras


def export_saved_model(model: keras.Model, directory: Path, *, steps_in_a_row: bool = False) -> None:
    """Write ``model`` in inference mode to ``directory``, with the batch of every input fixed to 1.

    A batch left open puts SHAPE, STRIDED_SLICE and PACK into some models, which then run up to seven times slower
    because the CPU delegate leaves them alone. Inputs keep their dtype; the signature's names carry the model's order.

    Args:
        steps_in_a_row: recurrent layers are written step by step instead of as loops, which integers need.

    Raises:
        UnsupportedModelError: the model has no fixed graph, or an input has an open dimension besides the batch, or
            recurrent layers have too many steps to be written out.
    """
    import keras
    import tensorflow as tf

    if not getattr(model, "inputs", None):
        raise UnsupportedModelError(
            f"cannot export {model.name!r}: a functional or Sequential model is needed, whose inputs are known; "
            f"got {type(model).__name__}"
        )
    signature = [
        tf.TensorSpec(_shape_of_one(tensor), tensor.dtype, name=input_name(position))
        for position, tensor in enumerate(model.inputs)
    ]
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input

    def serve(*inputs: Any) -> dict[str, Any]:
        outputs = model(keras.tree.pack_sequence_as(structure, list(inputs)), training=False)
        return {output_name(position): output for position, output in enumerate(keras.tree.flatten(outputs))}

    # ExportArchive, not tf.saved_model.save of a module that holds the model: from that the converter makes files in
    # which every weight stays a variable (VAR_HANDLE, READ_VARIABLE), unfused and slow.
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(SIGNATURE, serve, input_signature=signature)
    with steps_written_out(model) if steps_in_a_row else nullcontext():
        archive.write_out(str(directory), verbose=False)  # which is when the model is traced


def _shape_of_one(tensor: Any) -> tuple[int, ...]:
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise UnsupportedModelError(
            f"cannot export: input {tensor.name!r} has the shape {tuple(tensor.shape)}; only the batch may be open. "
            "Give the input a fixed shape"
        )
    return (1, *shape)
