import keras
import numpy as np
import pytest
from hypothesis import given, settings

from edgepress.compression.graph.channels import channels_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rules import rule_for
from edgepress.compression.graph.tracing import trace
from edgepress.compression.pruning import removal
from edgepress.compression.pruning.reconstruction import reconstruct
from edgepress.compression.pruning.removal import prune_channels
from edgepress.compression.pruning.surgery import remove_channels
from edgepress.compression.recipe import PruneStep
from edgepress.data import Split
from edgepress.training.evaluate import loss_of, predict
from edgepress.training.fit import fine_tune
from edgepress.training.objective import objective_of
from support.compress_models import (
    blobs,
    compiled,
    context_for,
    largest_difference,
    made,
    models,
    randomised,
    residual_cnn,
)

layers = keras.layers


def samples(model, count=200):
    generator = np.random.default_rng(1)
    return Split(tuple(generator.normal(size=(count, *x.shape[1:])).astype(np.float32) for x in model.inputs), ())


def pruned(model, share=0.5):
    """A model without channels of every group, with what it was made from."""
    channels = channels_of(read(model), rule_for)
    removed = np.concatenate([g.atoms[: int(len(g.atoms) * share)] for g in channels.groups if g.frozen is None])
    return channels, removed, remove_channels(channels, removed).model


def duplicated(reader, shape=(7, 7, 3), **settings):
    """A convolution whose first two filters are its last two, and what reads them."""
    inputs = keras.Input(shape)
    kind = layers.Conv1D if len(shape) == 2 else layers.Conv2D
    conv = kind(4, 3, padding="same", activation="relu", name="conv", **settings)
    model = randomised(keras.Model(inputs, layers.Flatten()(reader(conv(inputs)))))
    kernel, bias = conv.get_weights()
    conv.set_weights([np.concatenate([kernel[..., :2]] * 2, axis=-1), np.concatenate([bias[:2]] * 2)])
    return model


@pytest.mark.parametrize(
    "model",
    [
        lambda: duplicated(layers.Conv2D(5, 3, padding="same", strides=2, name="reader")),
        lambda: duplicated(layers.Conv2D(5, (3, 2), dilation_rate=2, activation="relu", name="reader")),
        lambda: duplicated(layers.Conv2D(5, 1, use_bias=False, name="reader")),
        lambda: duplicated(layers.Dense(5, name="reader")),
        lambda: duplicated(layers.EinsumDense("abcd,de->abce", (None, None, 5), bias_axes="e", name="reader")),
        lambda: duplicated(layers.Conv1D(5, 3, padding="causal", dilation_rate=2, name="reader"), (9, 3)),
    ],
)
def test_channels_that_others_repeat_are_given_back_by_the_reader(model):
    model = model()
    channels, removed, smaller = pruned(model)
    data = samples(model)
    before = np.abs(predict(smaller, data.inputs)[0] - predict(model, data.inputs)[0]).max()

    assert reconstruct(channels, removed, smaller, data) == ("reader",)

    after = np.abs(predict(smaller, data.inputs)[0] - predict(model, data.inputs)[0]).max()
    assert before > 0.3
    assert after < 0.05 * before


def test_a_trained_net_loses_less_before_fine_tuning_than_by_removal_alone():
    dataset = blobs(256, classes=6)
    model = compiled(made(residual_cnn, 6))
    model = compiled(fine_tune(model, dataset.training, objective_of(model, dataset), epochs=4).model)
    context = context_for(model, dataset)

    def loss(reconstruct):
        step = PruneStep(kind="prune", structure="filters", sparsity=0.5, epochs=0, reconstruct=reconstruct)
        outcome = prune_channels(model, step, context)
        assert outcome.largest_difference < 1e-4
        return loss_of(outcome.model, dataset.val, context.objective)

    assert loss(True) < loss(False)


def test_what_is_shared_frozen_or_pruned_to_zeros_is_left_as_it_is():
    model = randomised(made(residual_cnn))
    model.get_layer("project").trainable = False
    head = model.get_layer("head")
    head.kernel.assign(np.where(np.arange(16) % 2, np.asarray(head.kernel), 0))
    channels, removed, smaller = pruned(model)
    kernels = {name: smaller.get_layer(name).get_weights()[0] for name in ("project", "head")}

    fitted = reconstruct(channels, removed, smaller, samples(model))

    assert set(fitted) == {"wide", "features", "classes"}
    for name, kernel in kernels.items():
        np.testing.assert_array_equal(smaller.get_layer(name).get_weights()[0], kernel)


def test_weights_that_make_validation_worse_are_not_taken(monkeypatch):
    dataset = blobs()
    model = compiled(randomised(made(residual_cnn)))
    step = PruneStep(kind="prune", structure="filters", sparsity=0.5, epochs=0)
    plain = prune_channels(model, step.model_copy(update={"reconstruct": False}), context_for(model, dataset)).model

    def spoil(channels, removed, pruned, data, seed):
        pruned.get_layer("classes").kernel.assign(100 * np.asarray(pruned.get_layer("classes").kernel))
        return ("classes",)

    monkeypatch.setattr(removal, "reconstruct", spoil)
    outcome = prune_channels(model, step, context_for(model, dataset))

    assert largest_difference(outcome.model, plain) == 0
    assert any(note.endswith("left as they were") for note in outcome.notes)


def test_bytes_are_run_through_a_graph_as_the_numbers_that_its_inputs_take():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 2)).astype(np.uint8)
    seen = {}

    trace(read(made(residual_cnn)), [pictures], lambda node, inputs: seen.setdefault(node.name, inputs[0]))

    assert seen["stem"].dtype == np.float32
    np.testing.assert_array_equal(seen["stem"], pictures)


@settings(max_examples=10)
@given(models())
def test_running_a_graph_node_by_node_is_running_the_model(model):
    graph = read(model)
    data = samples(model, 3)
    seen = {}
    trace(graph, data.inputs, lambda node, inputs: seen.update({node.index: (node, inputs)}))

    for output, wanted in zip(graph.outputs, predict(model, data.inputs), strict=True):
        node, inputs = seen[output.node]
        np.testing.assert_allclose(node.operation(*inputs), wanted, atol=1e-5)
