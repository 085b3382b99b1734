import keras
import numpy as np
import pytest
from hypothesis import given, settings

from edgepress.compression.graph.blocks import residual_blocks
from edgepress.compression.graph.bypass import bypass
from edgepress.compression.graph.reader import TensorRef, read
from edgepress.compression.graph.rebuild import rebuild
from edgepress.compression.pruning.layers import prune_layers, without_blocks
from edgepress.compression.recipe import PruneStep
from edgepress.data import Dataset
from edgepress.training.evaluate import loss_of
from support.compress_models import blobs, compiled, context_for, largest_difference, made, models, randomised

layers = keras.layers


def residual_net():
    """Three blocks, of which the second changes the width, and one inside of the third's branch."""

    def branch(x, width, name):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return layers.BatchNormalization(name=f"{name}_norm")(x)

    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, name="stem")(inputs)
    x = layers.Add(name="first")([x, branch(x, 8, "a")])
    x = layers.ReLU(name="relu")(x)
    x = layers.Add(name="wider")([layers.Conv2D(12, 1, name="shortcut")(x), branch(x, 12, "b")])
    inner = branch(x, 12, "c")
    inner = layers.Add(name="inner")([inner, branch(inner, 12, "d")])
    x = layers.Add(name="third")([x, inner])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="classes")(x))


def step(sparsity=0.5, **settings):
    return PruneStep(kind="prune", structure="layers", sparsity=sparsity, **{"epochs": 0, **settings})


def test_blocks_are_those_that_keep_their_shapes_without_their_branch():
    blocks = residual_blocks(read(made(residual_net)))

    assert [block.join.name for block in blocks] == ["first", "inner", "third"]
    assert [node.name for node in blocks[2].branch] == ["c_conv", "c_norm", "d_conv", "d_norm", "inner"]


def test_a_branch_that_somebody_else_reads_is_no_block():
    inputs = keras.Input((4, 4, 2))
    branch = layers.Conv2D(2, 1)(inputs)
    joined = layers.Add()([inputs, branch])

    assert residual_blocks(read(keras.Model(inputs, [joined, layers.ReLU()(branch)]))) == ()


def test_the_block_without_which_the_validation_loss_is_least_is_left_out():
    model = compiled(randomised(made(residual_net)))
    context = context_for(model, blobs())
    graph = read(model)
    losses = {
        block.join.name: loss_of(without_blocks(graph, [block]), context.data.val, context.objective)
        for block in residual_blocks(graph)
    }
    weakest = min(losses, key=losses.get)

    outcome = prune_layers(model, step(1 / 3), context)

    assert [change.layer for change in outcome.changed] == [weakest]
    assert outcome.choices == {"blocks": [weakest]}
    assert outcome.largest_difference < 1e-5
    assert {skip.layer for skip in outcome.skipped} == {"first", "inner", "third"} - {weakest}


def test_of_blocks_inside_of_each_other_one_is_left_out():
    model = compiled(randomised(made(residual_net)))

    outcome = prune_layers(model, step(0.99, epochs=1), context_for(model, blobs()))

    assert len({change.layer for change in outcome.changed} & {"inner", "third"}) == 1
    assert len(outcome.changed) == 2


def test_a_model_without_blocks_is_left_whole_and_the_report_says_so():
    model = compiled(made(lambda: keras.Sequential([keras.Input((8, 8, 2)), layers.Flatten(), layers.Dense(3)])))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    outcome = prune_layers(model, step(), context_for(model, blobs()))

    assert outcome.changed == ()
    assert any("there is no residual block that keeps its shape" in note for note in outcome.notes)


def test_a_shortcut_leaves_out_what_nothing_needs_any_more():
    inputs = keras.Input((4,))
    first = layers.Dense(4, name="first")(inputs)
    graph = read(keras.Model(inputs, layers.Dense(2, name="last")(layers.Dense(4, name="second")(first))))

    shorter = bypass(graph, {TensorRef(2, 0): TensorRef(0, 0)})

    assert [node.name for node in shorter.nodes][1:] == ["last"]
    assert rebuild(shorter).output_shape == (None, 2)


@settings(max_examples=10)
@given(models())
def test_a_graph_without_shortcuts_stays_the_same(model):
    assert largest_difference(rebuild(bypass(read(model), {})), model) == 0


@pytest.mark.parametrize("name", ["first", "third"])
def test_leaving_a_block_out_equals_silencing_its_branch(name):
    model = randomised(made(residual_net))
    graph = read(model)
    (block,) = (block for block in residual_blocks(graph) if block.join.name == name)
    shorter = rebuild(bypass(graph, {block.exit: block.entry}))
    last = model.get_layer(graph.nodes[block.last.node].name)
    if name == "third":
        last = model.get_layer("c_norm")
        for weight in (model.get_layer("d_norm").gamma, model.get_layer("d_norm").beta):
            weight.assign(np.zeros(12))
    for weight in (last.gamma, last.beta):
        weight.assign(np.zeros(last.gamma.shape))

    assert largest_difference(shorter, model) < 1e-6


def test_blocks_that_a_pattern_names_are_left_alone_whatever_they_matter():
    model = compiled(randomised(made(residual_net)))

    outcome = prune_layers(model, step(0.99, keep=("a_*", "inner")), context_for(model, blobs()))

    assert outcome.changed == ()  # the third block has the inner one in its branch
    assert {skip.layer: skip.why for skip in outcome.skipped} == {
        "first": "keep leaves a_conv alone",
        "inner": "keep leaves inner alone",
        "third": "keep leaves inner alone",
    }


def test_gradually_blocks_go_a_few_at_a_time_with_training_between():
    model = compiled(randomised(made(residual_net)))
    settings = step(0.67, schedule="gradual", rounds=2, epochs=2, learning_rate=1e-4)

    outcome = prune_layers(model, settings, context_for(model, blobs()))

    assert len(outcome.changed) == 2
    assert 0 <= outcome.largest_difference < 1e-4
    assert [note.split(":")[0] for note in outcome.notes[:2]] == ["round 1 of 2, 59%", "round 2 of 2, 67%"]


def test_a_model_that_takes_a_logarithm_is_proven_on_inputs_that_have_one():
    given = blobs(32)
    train, val = (np.exp(split.inputs[0]) for split in (given.train, given.val))
    dataset = Dataset.from_arrays(train, given.train.targets, val, given.val.targets)
    inputs = keras.Input((8, 8, 2))
    x = keras.ops.log(inputs)
    x = layers.Add(name="sum")([x, layers.Conv2D(2, 3, padding="same")(x)])
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))

    outcome = prune_layers(compiled(model), step(0.99), context_for(model, dataset))

    assert outcome.changed[0].layer == "sum"
    assert 0 <= outcome.largest_difference < 1e-4


def test_a_branch_may_end_in_one_of_the_outputs_of_a_layer():
    inputs = keras.Input((6, 4))
    sequence, *_ = layers.LSTM(4, return_sequences=True, return_state=True)(inputs)
    x = layers.Add(name="memory")([inputs, sequence])
    _, half = keras.ops.split(layers.Dense(8)(x), 2, axis=-1)
    x = layers.Add(name="half")([x, half])
    model = compiled(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))))

    outcome = prune_layers(model, step(0.9), context_for(model, blobs(32, shape=(6, 4))))

    assert {change.layer for change in outcome.changed} == {"memory", "half"}
    assert outcome.largest_difference < 1e-6
