"""Every layer that has a rule: a model without some channels says what it says with these zeroed.

The proof inside of the surgery compares the two; what is tested here beside it is that the channels could be removed.
"""

import keras
import numpy as np
import pytest

from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.pruning.surgery import remove_channels
from support.channel_surgery import after, channels_in, cut, free, some_of, then
from support.compress_models import largest_difference, made, randomised, residual_cnn

layers = keras.layers
ops = keras.ops


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
    rows = layers.Concatenate(axis=1)([joined, layers.Conv2D(10, 1, name="rows")(inputs)])
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(rows)))


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
    x = layers.GRU(6, name="gru", return_sequences=True)(layers.LayerNormalization()(x))
    x = layers.LSTM(6, name="lstm")(x)
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.Dense(8, name="dense")(x)))


def masked_text_net():
    inputs = keras.Input((7,), dtype="int32")
    x = layers.Embedding(2, 8, mask_zero=True, name="words")(inputs)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="both")(x)
    x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
    return keras.Model(inputs, layers.Dense(2)(layers.SimpleRNN(4, name="simple")(x)))


def masked_residuals():
    """A mask that goes on through a normalization to where an Add joins masks, and attention takes what it says."""
    words = keras.Input((8,), dtype="int32")
    x = layers.Embedding(9, 8, mask_zero=True, name="words")(words)
    x = layers.Add()([x, layers.LayerNormalization()(layers.Dense(8, name="branch")(x))])
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4, name="attention")(x, x)])
    return keras.Model(words, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def convnext_block():
    from keras.src.applications.convnext import LayerScale

    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 1, name="stem")(inputs)
    branch = layers.Conv2D(8, 3, groups=8, padding="same", name="depthwise")(x)
    branch = layers.LayerNormalization()(branch)
    branch = layers.Dense(8, name="squeeze")(layers.Activation("gelu")(layers.Dense(16, name="expand")(branch)))
    x = layers.Add()([x, LayerScale(0.1, 8)(branch)])
    x = ops.relu(x * 2.0 + 1.0)[:, 1:]
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def transformer():
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(8, 1, name="patches")(inputs)
    x = layers.Reshape((16, 8))(x)
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(4, 3, value_dim=5, name="attention")(y, y)])
    y = layers.Dense(16, activation="gelu", name="wide")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(8, name="narrow")(y)])
    return keras.Model(inputs, layers.Dense(3)(x[:, 0]))


def cross_attention():
    inputs, memory = keras.Input((5, 3)), keras.Input((7, 4))
    query, value = layers.Dense(6, name="query")(inputs), layers.Dense(8, name="value")(memory)
    key = layers.Dense(4, name="key")(memory)
    x = layers.MultiHeadAttention(3, 2, output_shape=5, use_bias=False, name="attention")(query, value, key=key)
    x = layers.MultiHeadAttention(2, 2, use_gate=True, name="gated")(x, value, use_causal_mask=True)
    return keras.Model([inputs, memory], layers.Dense(2)(x))


def grouped_attention():
    inputs = keras.Input((5, 3))
    x = layers.Dense(6, name="dense")(inputs)
    x = layers.GroupQueryAttention(2, num_query_heads=6, num_key_value_heads=3, name="attention")(x, x)
    return keras.Model(inputs, layers.Dense(2)(x))


def mixer():
    """Dense layers over positions, between two permutations, beside a shortcut."""
    inputs = keras.Input((5, 3))
    x = layers.Dense(8, name="stem")(inputs)
    y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
    y = layers.Dense(5, name="back")(layers.Dense(12, activation="gelu", name="tokens")(y))
    x = layers.Add()([x, layers.Permute((2, 1))(y)])
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def shuffled(move):
    return after(
        layers.Conv2D(12, 1, groups=2, name="conv"),
        lambda x: ops.reshape(x, (-1, 4, 4, 2, 6)),
        move,
        layers.Reshape((4, 4, 12)),
        layers.Conv2D(3, 3),
        shape=(4, 4, 4),
    )


def split_in(sections):
    """Parts of one convolution's channels that go different ways and meet again."""

    def joined(x):
        first, *others = ops.split(x, sections, axis=-1)
        others = [layers.Conv2D(first.shape[-1], 1, name=f"other{number}")(x) for number, x in enumerate(others)]
        return layers.Add()([first, *others])

    return then(joined, layers.Conv2D(2, 1), filters=12)


def slices():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(12, 1, name="conv")(inputs)
    late, early = layers.Conv2D(4, 1, name="late")(x[..., 5:]), x[:, 1:-1, ::2, :-6]
    x = layers.Concatenate()([late[:, 1:5, ::2], early])
    row = layers.Dense(8, name="row")(layers.Flatten()(x[:, 0]))
    return keras.Model(inputs, [layers.Dense(2)(layers.Flatten()(y)) for y in (x, row[:, None, :, None])])


def merges():
    inputs = keras.Input((6, 6, 2))
    x, y = layers.Conv2D(8, 1, name="x")(inputs), layers.Conv2D(8, 1, name="y", activation="sigmoid")(inputs)
    for merge in (layers.Subtract, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum):
        x = merge()([x, y])
    x = ops.maximum(ops.minimum(x / 2.0 - y, 3.0), y**2.0) + layers.Conv2D(1, 1, name="spread")(inputs)
    return keras.Model(inputs, layers.Conv2D(2, 1)(x))


def over_positions():
    x = inputs = keras.Input((8, 8, 8, 2))
    x = layers.Conv3D(8, 1, name="conv")(x)
    x = layers.Cropping3D(1)(layers.ZeroPadding3D(1)(layers.UpSampling3D(1)(layers.MaxPooling3D(2)(x))))
    x = layers.SpatialDropout3D(0.1)(layers.AveragePooling3D(2)(x))
    x = layers.Conv3DTranspose(6, 2, strides=2, name="up")(x)
    x = layers.Conv2DTranspose(6, 2, name="flat")(layers.Resizing(5, 5)(layers.UpSampling2D(2)(x[:, 0])))
    x = ops.pad(layers.Cropping2D(1)(layers.ZeroPadding2D(2)(x)), ((0, 0), (1, 0), (0, 0), (0, 0)))
    x = layers.DepthwiseConv1D(2, depth_multiplier=2)(ops.mean(layers.MaxPooling2D(2)(x), axis=1))
    x = layers.SeparableConv1D(4, 2, depth_multiplier=3, name="separable")(layers.ZeroPadding1D(3)(x))
    x = layers.Conv1DTranspose(4, 2, name="up1")(layers.UpSampling1D(2)(layers.Cropping1D(1)(x)))
    x = layers.RepeatVector(3)(layers.GlobalMaxPooling1D()(layers.AveragePooling1D(2)(x)))
    return keras.Model(inputs, layers.Dense(2)(ops.sum(x, axis=[1])))


def axes_moved():
    """The channels on other axes, and back."""
    inputs = keras.Input((4, 3))
    x = layers.Dense(8, name="dense")(inputs)
    x = ops.transpose(ops.relu(ops.transpose(x, (0, 2, 1))), (0, 2, 1))
    x = ops.moveaxis(layers.Activation("tanh")(ops.moveaxis(x, -1, 1)), 1, -1)
    x = ops.swapaxes(layers.Dropout(0.1)(ops.swapaxes(x, 1, 2)), 1, 2)
    x = ops.squeeze(layers.Reshape((4, 8, 1))(x), -1)
    x = ops.squeeze(ops.expand_dims(ops.expand_dims(x, -1), 1), [1, -1])
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


MODELS = [
    (residual_cnn, {"stem", "wide", "project", "head", "features"}),
    (squeeze_and_excite, {"conv", "squeeze", "excite", "project"}),
    (generator_net, {"spread", "up"}),
    (concatenations, {"left", "right", "whole", "join", "rows"}),
    (shared_and_nested, {"stem", "conv"}),
    (text_net, {"words", "conv", "gru", "lstm", "dense"}),
    (masked_text_net, {"words", "both", "attention", "simple"}),
    (masked_residuals, {"words", "branch", "attention"}),
    (convnext_block, {"stem", "expand", "squeeze"}),
    (transformer, {"patches", "attention", "wide", "narrow"}),
    (cross_attention, {"query", "key", "value", "attention", "gated"}),
    (grouped_attention, {"dense", "attention"}),
    (mixer, {"stem", "tokens"}),
    (slices, {"conv", "late", "row"}),
    (merges, {"x", "y"}),
    (over_positions, {"conv", "up", "flat", "separable", "up1"}),
    (axes_moved, {"dense"}),
]


@pytest.mark.parametrize("share", [0.25, 0.7])
@pytest.mark.parametrize(("build", "makers"), MODELS)
def test_a_model_without_some_channels_says_what_it_says_with_these_zeroed(build, makers, share):
    model = made(build)

    surgery = cut(model, share)

    assert makers <= free(model)
    assert surgery.largest_difference < 1e-5
    assert surgery.model.count_params() < model.count_params()


BEHIND_A_CONVOLUTION = {
    "grouped convolution": [layers.Conv2D(8, 3, groups=2)],
    "convolution of as many groups as channels": [layers.Conv2D(16, 3, groups=8)],
    "separable": [layers.SeparableConv2D(6, 3, depth_multiplier=2)],
    "PReLU for each channel": [layers.PReLU(shared_axes=[1, 2])],
    "PReLU for each number": [layers.PReLU()],
    "PReLU for each position": [layers.PReLU(shared_axes=[3])],
    "BatchNormalization without a scale": [layers.BatchNormalization(scale=False), layers.ReLU()],
    "LayerNormalization": [layers.LayerNormalization(center=False)],
    "RMSNormalization": [layers.RMSNormalization()],
    "UnitNormalization": [layers.UnitNormalization()],
    "GroupNormalization of one group": [layers.GroupNormalization(1)],
    "GroupNormalization of several groups": [layers.GroupNormalization(4)],
    "GroupNormalization of each channel": [layers.GroupNormalization(-1, scale=False)],
    "Rescaling": [layers.Rescaling(2.0, 1.0)],
    "Rescaling for each channel": [layers.Rescaling([1.0, 2.0] * 4, 1.0)],
    "Normalization that learnt": [layers.Normalization()],
    "Normalization that was told": [layers.Normalization(mean=[1.0, 2.0] * 4, variance=[3.0] * 8)],
    "Normalization of all": [layers.Normalization(axis=None, mean=1.0, variance=2.0)],
    "Permute of positions": [layers.Permute((2, 1, 3))],
    "Einsum like Dense": [layers.EinsumDense("...x,xy->...y", 6, bias_axes="y", activation="relu")],
    "Einsum over positions": [layers.EinsumDense("abcd,bde->abce", (4, 4, 6), bias_axes="ce")],
    "Einsum with two axes of its own": [layers.EinsumDense("abcd,def->abcef", (4, 4, 3, 6), bias_axes="ef")],
    "Einsum for each channel": [layers.EinsumDense("abcd,d->abcd", (4, 4, 8), bias_axes="d")],
    "Reshape of positions": [lambda x: ops.reshape(x, (-1, 16, 8))],
    "keras.ops": [lambda x: ops.sqrt(ops.softplus(ops.cast(-x * 2.0, "float32")) ** 2.0)],
    "an activation that is a layer": [layers.Conv2D(6, 1, activation=layers.LeakyReLU(0.2))],
    "the largest of all positions, or a number": [layers.Activation("sigmoid"), lambda x: ops.max(x, 1, initial=0.7)],
    "the scores of each position": [layers.Softmax(axis=1), lambda x: ops.softmax(x, axis=2)],
}


@pytest.mark.parametrize("following", BEHIND_A_CONVOLUTION.values(), ids=BEHIND_A_CONVOLUTION)
def test_channels_are_followed_through(following):
    model = then(
        *(type(x).from_config(x.get_config()) if isinstance(x, layers.Layer) else x for x in following),
        layers.Dense(3),
        layers.Flatten(),
        layers.Dense(2),
    )

    assert cut(model).largest_difference < 1e-5
    assert "conv" in free(model)


def test_pretrained_embeddings_lose_dimensions_though_their_initializer_has_them_all():
    pretrained = keras.initializers.Constant(np.arange(48.0).reshape(6, 8))
    words = layers.Embedding(6, 8, embeddings_initializer=pretrained, trainable=False)
    model = after(words, layers.GlobalAveragePooling1D(), layers.Dense(2), shape=(5,), dtype="int32")

    smaller = cut(model).model

    assert smaller.layers[1].output_dim == 4
    assert not smaller.layers[1].trainable


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
def test_channels_are_followed_through_the_old_way_to_scale_by_variance():
    model = then(layers.LayerNormalization(rms_scaling=True), layers.Conv2D(3, 1))

    assert cut(model).largest_difference < 1e-5
    assert free(model) == {"conv"}


def test_a_shared_normalization_without_weights_has_the_same_channels_in_all_calls():
    inputs, shared = keras.Input((6,)), layers.UnitNormalization()
    x, y = layers.Dense(8, name="x")(inputs), layers.Dense(8, name="y")(inputs)
    model = keras.Model(inputs, [layers.Dense(2)(shared(x)), layers.Dense(2)(shared(y))])

    assert cut(model).largest_difference < 1e-5
    assert [len(group.producers) for group in channels_in(model).groups if group.frozen is None] == [2]


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU])
def test_both_directions_of_a_bidirectional_layer_lose_the_same_units(kind, mode):
    inputs = keras.Input((5, 3))
    x = layers.Bidirectional(kind(8, return_sequences=mode is None), merge_mode=mode, name="both")(
        layers.Dense(6, name="dense")(inputs)
    )
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(x) if mode is None else x))

    surgery = cut(model)

    assert free(model) == {"dense", "both"}
    both = surgery.model.get_layer("both")
    assert (both.forward_layer.units, both.backward_layer.units) == (4, 4)


@pytest.mark.parametrize("sections", [3, [4, 8]])
def test_every_part_of_a_split_keeps_channels(sections):
    model = split_in(sections)

    surgery = cut(model, 0.99)

    assert {"conv", "other0", "other1"} <= free(model)
    assert surgery.largest_difference < 1e-5
    assert surgery.model.get_layer("conv").filters == 3


@pytest.mark.parametrize(
    "move", [layers.Permute((1, 2, 4, 3)), lambda x: ops.transpose(x, (0, 1, 2, 4, 3))], ids=["Permute", "transpose"]
)
def test_a_shuffle_of_channels_is_followed(move):
    model = shuffled(move)

    assert cut(model).model.get_layer("conv").filters == 6


def test_attention_loses_whole_heads():
    model = made(transformer)
    channels = channels_in(randomised(model))
    (heads,) = (group for group in channels.groups if group.kinds == ("heads",))

    smaller = remove_channels(channels, heads.atoms[:1]).model.get_layer("attention")

    assert (smaller.num_heads, smaller.key_dim, smaller.value_dim) == (3, 3, 5)


def test_an_adapted_normalization_is_copied_with_what_it_computes_with():
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32))
    model = after(layer, layers.Dense(2), shape=(4,))

    assert largest_difference(copy_of(model), model) == 0


def test_nothing_is_left_of_the_original_s_weights_but_slices():
    model = randomised(made(residual_cnn))
    before = [weight.copy() for weight in model.get_weights()]
    channels = channels_in(model)

    pruned = remove_channels(channels, some_of(channels)).model

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
    assert "project" in cut(made(squeeze_and_excite)).folded


@pytest.mark.parametrize(
    ("following", "atoms", "multiple"),
    [
        ([], 16, 8),
        ([layers.GroupNormalization(8)], 8, 4),  # of two channels each
        ([layers.Conv2D(8, 1, groups=4)], 4, 2),  # the channels at one place of four groups
    ],
)
def test_groups_say_how_many_atoms_fill_what_kernels_like(following, atoms, multiple):
    model = then(*following, layers.Conv2D(2, 1), filters=16)
    (group,) = (group for group in channels_in(model).groups if group.producers == ("conv",))

    assert (len(group.atoms), group.multiple(8)) == (atoms, multiple)
