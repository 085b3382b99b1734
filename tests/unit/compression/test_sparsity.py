import re

import keras
import numpy as np
import pytest

from edgepress.compression.pruning.magnitude import magnitude_masks, prunable_kernels
from edgepress.compression.pruning.weights import with_zeros
from edgepress.compression.sparsity import why_not_faster, why_not_sparse
from support.compress_models import made

layers = keras.layers


def net():
    return keras.Sequential(
        [
            keras.Input((6, 6, 16)),
            layers.Conv2D(16, 1, name="conv"),
            layers.Flatten(),
            layers.Dense(8, name="dense"),
        ]
    )


def pruned(block=1, sparsity=0.8, keep=()):
    model = made(net)
    kernels, _ = prunable_kernels(model, block, keep)
    return with_zeros(model, magnitude_masks(kernels, sparsity, "local", block))


@pytest.mark.parametrize(
    ("model", "format", "why"),
    [
        (lambda: pruned(keep=["dense"]), "dynamic", "no sparse convolution, such as conv, in dynamic"),
        (lambda: pruned(keep=["dense"]), "int16x8", "no sparse convolution, such as conv, in int16x8"),
        (lambda: pruned(keep=["conv"]), "dynamic", "only in blocks of 16 .* not of dense"),
        (lambda: pruned(16, keep=["conv"]), "dynamic", None),
        (lambda: pruned(), "int8", "only in blocks of 16 .* not of dense"),
        (lambda: pruned(4), "int8", "only in blocks of 16 .* not of dense"),
        (lambda: pruned(16), "int8", None),
        (lambda: pruned(keep=["dense"]), "int8", None),
        (lambda: pruned(4), "float16", "such as dense, make every runtime answer NaN"),
        (lambda: pruned(), "float16", None),
        (lambda: pruned(16, keep=["conv"]), "int16x8", "such as dense, make LiteRT answer wrongly"),
        (lambda: pruned(4, keep=["conv"]), "int16x8", None),
        (lambda: pruned(), "float32", None),
        (lambda: pruned(16), "float32", None),
        (lambda: pruned(sparsity=0.2), "int8", None),  # the converter leaves these kernels whole
    ],
)
def test_a_file_that_runtimes_refuse_or_answer_wrongly_with_is_known_before_it_is_made(model, format, why):
    found = why_not_sparse(model(), format)

    assert (found is None) if why is None else re.search(why, found)


@pytest.mark.parametrize(
    ("model", "format", "why"),
    [
        (lambda: pruned(4), "float32", None),
        (lambda: pruned(16), "float32", None),
        (lambda: pruned(16), "int8", None),
        (lambda: pruned(16, keep=["conv"]), "dynamic", None),
        (lambda: pruned(16), "dynamic", "LiteRT loads no sparse convolution"),
        (lambda: pruned(), "float32", "no Dense layer has 30% of zeros in blocks of 4"),
        (lambda: pruned(4), "int8", "no Dense layer has 30% of zeros in blocks of 16"),
        (lambda: pruned(4, keep=["dense"]), "float32", "no Dense layer"),
        (lambda: made(net), "float32", "no Dense layer"),
        (lambda: pruned(4), "float16", "no runtime has sparse kernels for float16"),
    ],
)
def test_what_cannot_be_faster_is_not_measured(model, format, why):
    found = why_not_faster(model(), format)

    assert (found is None) if why is None else found.startswith(why)


def test_zeros_by_chance_are_no_blocks():
    model = made(net)
    kernel = np.asarray(model.get_layer("dense").kernel)
    chance = np.random.default_rng(0).random(kernel.shape) > 0.8
    model.get_layer("dense").kernel.assign(kernel * chance)

    assert why_not_faster(model, "float32").startswith("no Dense layer")
