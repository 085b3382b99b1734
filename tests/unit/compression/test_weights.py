import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgepress.compression.pruning.magnitude import magnitude_masks, prunable_kernels
from edgepress.compression.pruning.weights import prune_weights
from edgepress.compression.recipe import PruneStep
from support.compress_models import blobs, compiled, context_for, made, residual_cnn

KERNELS = {"small": np.array([[0.1, -0.2], [0.3, 0.4]], np.float32), "large": np.array([[1.0, -2.0]], np.float32)}


def test_local_pruning_drops_the_same_share_of_each_kernel():
    masks = magnitude_masks(KERNELS, 0.5, "local")

    assert masks["small"].tolist() == [[False, False], [True, True]]
    assert masks["large"].tolist() == [[False, True]]


def test_global_pruning_drops_the_smallest_of_all():
    masks = magnitude_masks(KERNELS, 0.5, "global")

    assert masks["small"].tolist() == [[False, False], [False, True]]
    assert masks["large"].all()


@pytest.mark.parametrize(("scope", "block"), [("global", 1), ("local", 16)])
def test_no_kernel_loses_all_of_its_weights(scope, block):
    small = np.full((16, 4), 1e-3, np.float32)
    small[3, 2] = 2e-3
    kernels = {"small": small, "large": np.ones((16, 4), np.float32)}

    masks = magnitude_masks(kernels, 0.9, scope, block)

    assert [name for name, mask in masks.items() if not mask.any()] == []
    assert masks["small"][3, 2]


@given(arrays(np.float32, (4, 5), elements=st.floats(-1, 1, width=32)), st.floats(0.05, 0.95))
def test_exactly_the_share_asked_for_is_dropped_even_with_ties(kernel, sparsity):
    mask = magnitude_masks({"k": kernel}, sparsity, "local")["k"]

    assert (~mask).sum() == round(sparsity * kernel.size)
    if 0 < mask.sum() < mask.size:
        assert np.abs(kernel[mask]).min() >= np.abs(kernel[~mask]).max()


@given(arrays(np.float32, (2, 8, 3), elements=st.floats(-1, 1, width=32)), st.floats(0.05, 0.95))
def test_blocks_of_inputs_of_one_output_stay_or_go_together(kernel, sparsity):
    mask = magnitude_masks({"k": kernel}, sparsity, "local", block=4)["k"]

    blocks = mask.reshape(2, 2, 4, 3)
    assert (blocks.all(axis=2) == blocks.any(axis=2)).all()
    assert (~blocks.all(axis=2)).sum() == round(sparsity * 12)
    sizes = np.square(kernel.astype(np.float64)).reshape(2, 2, 4, 3).sum(axis=2)
    stay = blocks.all(axis=2)
    if stay.any() and not stay.all():
        assert sizes[stay].min() >= sizes[~stay].max()


def test_kernels_that_blocks_do_not_fit_and_layers_to_leave_alone_are_skipped_with_the_reason():
    kernels, skipped = prunable_kernels(made(residual_cnn), 4, ["head", "features"])

    assert set(kernels) == {"wide", "project", "classes"}
    assert {skip.layer: skip.why for skip in skipped} == {
        "stem": "its 2 inputs are no multiple of 4",
        "depthwise": "a depthwise convolution has few weights, and each matters to a whole channel",
        "head": "keep leaves it alone",
        "features": "keep leaves it alone",
    }


def test_a_layer_whose_kernel_is_a_sum_of_matrices_is_skipped():
    model = made(residual_cnn)
    model.get_layer("features").enable_lora(2)

    kernels, skipped = prunable_kernels(model)

    assert "features" not in kernels
    assert "other weights" in {skip.layer: skip.why for skip in skipped}["features"]


@pytest.mark.parametrize("settings", [{"scope": "global"}, {"block": "1x4"}], ids=str)
def test_zeros_stay_zeros_while_the_rest_is_trained(settings):
    dataset = blobs()
    model = compiled(made(residual_cnn))
    step = PruneStep(kind="prune", structure="weights", sparsity=0.8, epochs=1, **settings)

    outcome = prune_weights(model, step, context_for(model, dataset))

    kernels = [outcome.model.get_layer(name).get_weights()[0] for name in ("wide", "head", "features")]
    untouched = [model.get_layer(name).get_weights()[0] for name in ("wide", "head", "features")]
    assert sum((kernel == 0).sum() for kernel in kernels) >= 0.7 * sum(kernel.size for kernel in kernels)
    assert any((kernel[kernel != 0] != old[kernel != 0]).any() for kernel, old in zip(kernels, untouched, strict=True))
    assert [skip.layer for skip in outcome.skipped] == (["stem", "depthwise"] if "block" in settings else ["depthwise"])


def test_without_epochs_the_statistics_are_those_of_the_pruned_model():
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, name="conv")(inputs))
    model = compiled(keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(x))))
    dataset = blobs()

    step = PruneStep(kind="prune", structure="weights", sparsity=0.5, epochs=0)
    pruned = prune_weights(model, step, context_for(model, dataset)).model

    said = np.asarray(pruned.get_layer("conv")(dataset.train.inputs[0]))
    np.testing.assert_allclose(pruned.get_layer("norm").moving_mean, said.mean(axis=(0, 1, 2)), atol=1e-4)
