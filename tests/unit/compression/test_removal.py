import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.compression.graph.channels import Binding, channels_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rules import channel_rule, rule_for
from edgepress.compression.pruning.importance import criterion_named
from edgepress.compression.pruning.proof import logits, random_inputs
from edgepress.compression.pruning.removal import kept_count, prune_channels, removable_groups
from edgepress.compression.pruning.surgery import remove_channels
from edgepress.compression.recipe import PruneStep
from edgepress.errors import CompressionError
from support.compress_models import blobs, compiled, context_for, made, models, randomised, residual_cnn

layers = keras.layers


def channels_in(model):
    return channels_of(read(model), rule_for)


def half_of(channels, share=0.5, seed=0):
    """Some atoms of every group that may lose any; never all of a group."""
    generator = np.random.default_rng(seed)
    removed = [np.zeros(0, np.int64)]
    for group in channels.groups:
        if group.frozen is None:
            count = min(len(group.atoms) - 1, round(share * len(group.atoms)))
            removed.append(generator.choice(group.atoms, count, replace=False))
    return np.concatenate(removed)


def cut(model, share=0.5, seed=0):
    """The model without a share of its channels; the proof inside compares it with the whole one."""
    channels = channels_in(randomised(model, seed))
    return remove_channels(channels, half_of(channels, share, seed), seed)


def frozen(model) -> dict[str, str]:
    return {name: group.frozen for group in channels_in(model).groups for name in group.producers if group.frozen}


def then(*following, shape=(6, 6, 2), filters=8, **settings):
    """Inputs, a convolution called conv, and the layers that follow."""
    inputs = keras.Input(shape)
    x = layers.Conv2D(filters, 3, name="conv", **settings)(inputs)
    for layer in following:
        x = layer(x)
    return keras.Model(inputs, x)


def squeeze_and_excite():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, name="conv", use_bias=False)(inputs)
    x = layers.Activation("silu")(layers.BatchNormalization()(x))
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(4, 1, activation="silu", name="squeeze")(gate)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Conv2D(6, 1, use_bias=False, name="project")(layers.Multiply()([x, gate]))
    x = layers.BatchNormalization(name="project_norm")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def generator_net():
    inputs = keras.Input((5,))
    x = layers.Reshape((3, 3, 8))(layers.Dense(72, name="spread", activation="relu")(inputs))
    x = layers.Conv2DTranspose(6, 3, strides=2, activation="tanh", name="up")(x)
    return keras.Model(inputs, layers.Conv2D(1, 3, padding="same")(x))


def concatenations():
    inputs = keras.Input((6, 6, 2))
    left, right = layers.Conv2D(4, 1, name="left")(inputs), layers.Conv2D(6, 1, name="right")(inputs)
    both = layers.BatchNormalization()(layers.Concatenate()([left, right]))
    deeper = layers.Concatenate()([layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(both), left])
    whole = layers.Conv2D(10, 1, name="whole")(inputs)
    joined = layers.Add()([layers.Conv2D(10, 3, padding="same", name="join")(deeper), whole, both])
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(joined)))


def shared_and_nested():
    inner_input = keras.Input((6, 6, 4))
    inner = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 1, name="conv")(inner_input))
    inner = keras.Model(inner_input, inner, name="inner")
    first, second = keras.Input((6, 6, 2), name="a"), keras.Input((6, 6, 2), name="b")
    stem = layers.Conv2D(4, 3, padding="same", name="stem")
    x, y = stem(first), stem(second)
    joined = layers.Concatenate()([inner(x), inner(y)])
    outputs = {"class": layers.Dense(3)(layers.GlobalMaxPooling2D()(joined)), "map": layers.Conv2D(2, 1)(x)}
    return keras.Model({"a": first, "b": second}, outputs)


def text_net():
    inputs = keras.Input((7,), dtype="int32")
    x = layers.Embedding(10, 8, name="words")(inputs)
    x = layers.Conv1D(8, 3, padding="causal", activation="relu", name="conv")(x)
    x = layers.LayerNormalization()(x)
    x = layers.GRU(6, name="gru", return_sequences=True)(x)
    x = layers.LSTM(6, name="lstm")(x)
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.Dense(8, name="dense")(x)))


def convnext_block():
    from keras.src.applications.convnext import LayerScale

    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 1, name="stem")(inputs)
    branch = layers.Conv2D(8, 3, groups=8, padding="same", name="depthwise")(x)
    branch = layers.LayerNormalization()(branch)
    branch = layers.Dense(8, name="squeeze")(layers.Activation("gelu")(layers.Dense(16, name="expand")(branch)))
    x = layers.Add()([x, LayerScale(0.1, 8)(branch)])
    x = keras.ops.relu(x * 2.0 + 1.0)[:, 1:]
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("share", [0.25, 0.7])
@pytest.mark.parametrize(
    ("build", "makers"),
    [
        (residual_cnn, {"stem", "wide", "project", "head", "features"}),
        (squeeze_and_excite, {"conv", "squeeze", "excite", "project"}),
        (generator_net, {"spread", "up"}),
        (concatenations, {"left", "right", "whole", "join"}),
        (shared_and_nested, {"stem", "conv"}),
        (text_net, {"words", "conv", "gru", "lstm", "dense"}),
        (convnext_block, {"stem", "expand", "squeeze"}),
        (lambda: then(layers.Conv2D(8, 3, groups=2, name="grouped"), layers.Conv2D(3, 1)), {"conv", "grouped"}),
        (
            lambda: then(layers.Conv2D(8, 1, groups=4), layers.Conv2D(3, 1), groups=2, filters=16, shape=(6, 6, 4)),
            {"conv"},
        ),
        (
            lambda: then(
                layers.PReLU(shared_axes=[1, 2]),
                layers.SeparableConv2D(6, 3, name="s"),
                layers.Flatten(),
                layers.Dense(2),
            ),
            {"conv", "s"},
        ),
        (lambda: then(layers.Permute((2, 1, 3)), layers.Rescaling(2.0, 1.0), layers.Conv2D(2, 1)), {"conv"}),
        (
            lambda: then(
                layers.Reshape((16, 8)),
                layers.EinsumDense("abc,cd->abd", output_shape=(16, 6), bias_axes="d", name="einsum"),
                layers.Dense(2),
            ),
            {"conv"},
        ),
        (lambda: then(layers.BatchNormalization(scale=False), layers.ReLU(), layers.Conv2D(2, 1)), {"conv"}),
    ],
)
def test_a_model_without_some_channels_says_what_it_says_with_these_zeroed(build, makers, share):
    model = made(build)
    surgery = cut(model, share)

    smaller = {
        name
        for name, layer in read(surgery.model).layers().items()
        for setting in ("filters", "units", "output_dim")
        if getattr(layer, setting, None) != getattr(read(model).layers()[name], setting, None)
    }
    assert makers <= smaller
    assert surgery.largest_difference < 1e-5
    assert surgery.model.count_params() < model.count_params()


@settings(max_examples=15, deadline=None)
@given(models(), st.floats(0.1, 0.9), st.integers(0, 99))
def test_the_proof_holds_for_any_graph(model, share, seed):
    assert cut(model, share, seed).largest_difference < 1e-4


def test_nothing_is_left_of_the_original_s_weights_but_slices():
    model = randomised(made(residual_cnn))
    before = [weight.copy() for weight in model.get_weights()]
    channels = channels_in(model)

    pruned = remove_channels(channels, half_of(channels)).model

    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    kept = np.asarray(pruned.get_layer("wide_norm").moving_variance)
    assert set(kept) < set(np.asarray(model.get_layer("wide_norm").moving_variance))


def test_a_constant_that_a_removed_channel_leaves_moves_into_the_bias_of_what_reads_it():
    x = inputs = keras.Input((4, 4, 2))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 1, name="conv")(x))
    x = layers.Dense(2, name="reader")(layers.Activation("sigmoid")(x))
    model = randomised(keras.Model(inputs, x))
    channels = channels_in(model)
    (group,) = (group for group in channels.groups if group.frozen is None)

    surgery = remove_channels(channels, group.atoms[:1])

    reader = model.get_layer("reader")
    beta = np.asarray(model.get_layer("norm").beta)[0]
    expected = np.asarray(reader.bias) + np.asarray(reader.kernel)[0] / (1 + np.exp(-beta))
    np.testing.assert_allclose(surgery.model.get_layer("reader").bias, expected, rtol=1e-5)
    assert surgery.folded == ("reader",)


def test_without_a_bias_the_constant_is_taken_from_the_mean_of_the_batchnorm_behind():
    surgery = cut(made(squeeze_and_excite))

    assert "project" in surgery.folded


class Custom(layers.Layer):
    def call(self, x):
        return x[:, ::-1]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: then(), "output of the model"),
        (lambda: then(layers.ReLU()), "output of the model"),
        (lambda: then(layers.Conv2D(2, 1), activation="softmax"), "conv has the activation softmax"),
        (lambda: then(layers.Softmax(name="soft"), layers.Conv2D(2, 1)), "soft (Softmax) mixes channels"),
        (lambda: then(layers.Reshape((16, 8)), layers.Permute((2, 1), name="turn"), layers.Dense(2)), "turn (Permute)"),
        (lambda: then(Custom(name="mine"), layers.Conv2D(2, 1)), "mine (Custom), for which there is no rule"),
        (
            lambda: then(layers.EinsumDense("abcd,bde->abce", (4, 4, 2), name="rows"), layers.Conv2D(2, 1)),
            "rows (EinsumDense)",
        ),
        (lambda: then(layers.Lambda(lambda x: x, name="any"), layers.Conv2D(2, 1)), "any (Lambda)"),
        (lambda: then(layers.MaxPooling2D(data_format="channels_first", name="pool")), "pool (MaxPooling2D)"),
        (lambda: then(layers.BatchNormalization(axis=1), layers.Conv2D(2, 1)), "axis 1"),
        (lambda: then(layers.Reshape((12, 8, 3), name="cut"), layers.Conv2D(2, 1), shape=(8, 8, 2)), "cut (Reshape)"),
    ],
)
def test_what_cannot_be_followed_is_left_alone_with_the_reason(model, reason):
    assert reason in frozen(model())["conv"]


def test_what_is_added_to_the_model_s_input_keeps_its_channels():
    inputs = keras.Input((6, 6, 4))
    joined = layers.Add()([inputs, layers.Conv2D(4, 1, name="conv")(inputs)])

    assert "input of the model" in frozen(keras.Model(inputs, layers.Conv2D(2, 1)(joined)))["conv"]


class Gain(layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="random_normal")

    def call(self, x):
        return x * self.gain


class Reversed(layers.Layer):
    def call(self, x):
        return x[..., ::-1]


def test_a_custom_layer_gets_a_rule_in_a_few_lines():
    @channel_rule(Gain)
    def gain(call):
        (channels,) = call.inputs
        return Binding((channels,), weights=((channels,),))

    assert cut(then(Gain(), layers.Conv2D(2, 1))).largest_difference < 1e-5


def test_a_rule_that_is_wrong_is_found_out_and_gives_no_model():
    @channel_rule(Reversed)
    def wrong(call):
        return Binding((call.inputs[0],))

    model = randomised(then(Reversed(), layers.Conv2D(2, 1)))
    channels = channels_in(model)
    (group,) = (group for group in channels.groups if group.frozen is None)

    with pytest.raises(CompressionError, match=r"differs by .* mistake in a rule"):
        remove_channels(channels, group.atoms[:3])


def test_logits_are_compared_before_the_last_softmax():
    model = made(residual_cnn)
    (scores,) = logits(model, random_inputs(model))

    assert not np.allclose(scores.sum(axis=-1), 1)
    assert model.get_layer("classes").activation is keras.activations.softmax


@pytest.mark.parametrize(
    ("filters", "sparsity", "round_to", "kept"),
    [
        (64, 0.5, 8, 32),
        (64, 0.47, 8, 32),  # 33.9 would cost as much as 40
        (48, 0.5, 8, 24),
        (12, 0.5, 8, 8),
        (8, 0.5, 8, 4),  # the nearest multiple of 8 is none or all
        (16, 0.9, 8, 4),
        (4, 0.5, 8, 4),  # too few
        (10, 0.5, 1, 5),
    ],
)
def test_kept_channels_are_a_multiple_that_kernels_like(filters, sparsity, round_to, kept):
    assert kept_count(filters, sparsity, round_to) == kept


@pytest.mark.parametrize("criterion", ["l1", "l2", "batchnorm-scale", "geometric-median", "taylor"])
def test_the_filter_that_does_nothing_matters_least_by_any_criterion(criterion):
    dataset = blobs(32)
    model = randomised(made(residual_cnn))
    wide, norm = model.get_layer("wide"), model.get_layer("wide_norm")
    kernel = np.array(wide.kernel)
    if criterion == "geometric-median":
        kernel[..., 5] = np.median(kernel, axis=-1)  # what the others can replace
    else:
        kernel[..., 5] = 0
    wide.kernel.assign(kernel)
    norm.gamma.assign(np.where(np.arange(16) == 5, 0, norm.gamma))
    channels = channels_in(model)
    context = context_for(compiled(model), dataset)
    score = criterion_named(criterion, channels, model, context.data, context.objective)

    (group,) = (group for group in channels.groups if group.producers == ("wide",))
    scores = score(group)

    assert scores.argmin() == 5
    assert scores.mean() == pytest.approx(1)


def step(structure, **settings):
    return PruneStep(kind="prune", structure=structure, **{"sparsity": 0.5, "epochs": 0, **settings})


def test_the_step_prunes_fine_tunes_and_says_what_it_did():
    model = compiled(made(residual_cnn))

    outcome = prune_channels(model, step("filters", epochs=1), context_for(model, blobs()))

    assert outcome.model.get_layer("wide").filters == 8
    assert [(change.layer, change.what) for change in outcome.changed] == [
        ("stem", "8 -> 4 filters"),
        ("wide", "16 -> 8 filters"),
        ("project", "8 -> 4 filters"),
        ("head", "16 -> 8 filters"),
    ]
    assert outcome.choices == {"filters": {"stem": 4, "wide": 8, "project": 4, "head": 8}}
    assert 0 <= outcome.largest_difference < 1e-5
    assert any("same logits" in note for note in outcome.notes)


def test_neurons_are_the_units_of_dense_layers_and_filters_stay():
    model = compiled(made(residual_cnn))

    outcome = prune_channels(model, step("neurons"), context_for(model, blobs()))

    assert [(change.layer, change.what) for change in outcome.changed] == [("features", "24 -> 16 units")]
    assert {skip.layer: skip.why for skip in outcome.skipped}["classes"].startswith(
        "classes has the activation softmax"
    )


def test_layers_named_by_a_pattern_are_left_alone_with_all_that_is_tied_to_them():
    groups, skipped = removable_groups(channels_in(made(residual_cnn)), "filters", ("ste?", "head"))

    assert [group.producers for group in groups] == [("wide",)]
    assert {skip.layer: skip.why for skip in skipped}["project"] == "keep leaves stem alone"


def test_a_pattern_that_names_no_layer_is_an_error_that_lists_them():
    with pytest.raises(CompressionError, match=r"'steem'.*stem, wide"):
        removable_groups(channels_in(made(residual_cnn)), "filters", ("steem",))


def test_globally_the_groups_that_matter_less_lose_more():
    model = compiled(made(residual_cnn))
    head = model.get_layer("head")
    kernel = np.array(head.kernel)
    kernel[..., 1:] *= 1e-3  # one filter says it all
    head.kernel.assign(kernel)

    outcome = prune_channels(model, step("filters", scope="global"), context_for(model, blobs(32)))

    counts = outcome.choices["filters"]
    assert counts["head"] == 4
    assert counts.get("wide", 16) > 4


def test_a_model_without_filters_is_left_whole_and_the_report_says_so():
    dataset = blobs(shape=(4,))
    model = compiled(made(lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])))

    outcome = prune_channels(model, step("filters"), context_for(model, dataset))

    assert outcome.changed == ()
    assert any("no filter was removed" in note for note in outcome.notes)
