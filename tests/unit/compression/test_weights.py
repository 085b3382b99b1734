import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgepress.compression.pruning.weights import magnitude_masks, prune_weights
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


@given(arrays(np.float32, (4, 5), elements=st.floats(-1, 1, width=32)), st.floats(0.05, 0.95))
def test_exactly_the_share_asked_for_is_dropped_even_with_ties(kernel, sparsity):
    mask = magnitude_masks({"k": kernel}, sparsity, "local")["k"]

    assert (~mask).sum() == round(sparsity * kernel.size)
    if 0 < mask.sum() < mask.size:
        assert np.abs(kernel[mask]).min() >= np.abs(kernel[~mask]).max()


@pytest.mark.parametrize("scope", ["local", "global"])
def test_zeros_stay_zeros_while_the_rest_is_trained(scope):
    dataset = blobs()
    model = compiled(made(residual_cnn))
    settings = PruneStep(kind="prune", structure="weights", sparsity=0.8, scope=scope, epochs=1)

    outcome = prune_weights(model, settings, context_for(model, dataset))

    kernels = [outcome.model.get_layer(name).get_weights()[0] for name in ("wide", "head", "features")]
    untouched = [model.get_layer(name).get_weights()[0] for name in ("wide", "head", "features")]
    assert sum((kernel == 0).sum() for kernel in kernels) >= 0.7 * sum(kernel.size for kernel in kernels)
    assert any((kernel[kernel != 0] != old[kernel != 0]).any() for kernel, old in zip(kernels, untouched, strict=True))
    assert [skip.layer for skip in outcome.skipped] == ["depthwise"]
