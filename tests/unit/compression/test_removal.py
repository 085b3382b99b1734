import keras
import numpy as np
import pytest

from edgepress.compression.pruning.importance import criterion_named
from edgepress.compression.pruning.proof import logits, random_inputs
from edgepress.compression.pruning.removal import kept_count, prune_channels, removable_groups
from edgepress.compression.recipe import PruneStep
from edgepress.compression.steps import Judge
from edgepress.data import Dataset
from edgepress.errors import CompressionError
from support.channel_surgery import channels_in
from support.compress_models import blobs, compiled, context_for, made, randomised, residual_cnn

layers = keras.layers


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


@pytest.mark.parametrize("structure", ["filters", "neurons"])
def test_a_layer_without_a_rule_is_named_though_it_keeps_no_other_from_being_pruned(structure):
    inputs = keras.Input((3, 4, 4, 2))
    x = layers.ConvLSTM2D(4, 3, name="film")(inputs)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))

    _, skipped = removable_groups(channels_in(model), structure)

    reasons = {skip.layer: skip.why for skip in skipped}
    assert reasons["film"].startswith("there is no rule for the channels of ConvLSTM2D")


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
    assert outcome.choices == {"round_to": 8, "filters": {"stem": 4, "wide": 8, "project": 4, "head": 8}}
    assert 0 <= outcome.largest_difference < 1e-5
    assert any("same logits" in note for note in outcome.notes)


@pytest.mark.parametrize(
    ("round_to", "kernels_like", "multiple", "left"), [(None, 16, 16, 16), (None, None, 8, 24), (4, 16, 4, 20)]
)
def test_numbers_are_multiples_that_the_recipe_or_else_the_device_likes(round_to, kernels_like, multiple, left):
    model = compiled(made(two_hidden_layers, 42))
    judge = Judge("board", lambda files: (), lambda format: kernels_like if format == "float32" else 1)
    context = context_for(model, blobs(32, shape=(6,)), judge=judge)

    outcome = prune_channels(model, step("neurons", round_to=round_to, reconstruct=False), context)

    assert outcome.choices["round_to"] == multiple
    assert outcome.choices["units"]["second"] == left


def test_heads_of_attention_are_counted_one_by_one():
    inputs = keras.Input((5, 6))
    x = layers.MultiHeadAttention(4, 2, name="attention")(inputs, inputs)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))
    dataset = blobs(32, shape=(5, 6))

    outcome = prune_channels(compiled(model), step("neurons"), context_for(model, dataset))

    assert outcome.model.get_layer("attention").num_heads == 2
    assert outcome.changed[0].what == "4 -> 2 heads"


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


def two_hidden_layers(width=16):
    inputs = keras.Input((6,))
    x = layers.Dense(8, activation="relu", name="first")(inputs)
    x = layers.Dense(width, activation="relu", name="second")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="classes")(x))


@pytest.mark.parametrize(("scope", "left"), [("local", {"first": 4, "second": 8}), ("global", None)])
def test_gradually_channels_go_in_rounds_with_training_between_to_the_sparsity_of_the_whole_model(scope, left):
    model = compiled(made(two_hidden_layers))
    settings = step("neurons", schedule="gradual", rounds=2, epochs=2, scope=scope, round_to=1)

    outcome = prune_channels(model, settings, context_for(model, blobs(32, shape=(6,))))

    counts = {"first": 8, "second": 16} | outcome.choices["units"]
    assert counts == (left or counts)
    assert sum(counts.values()) == 12
    assert outcome.changed[-1].what == f"16 -> {counts['second']} units"
    assert {note.split(":")[0] for note in outcome.notes} >= {"round 1 of 2, 44%", "round 2 of 2, 50%"}
    assert 0 <= outcome.largest_difference < 1e-4


def grouped_net():
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(8, 3, name="conv")(inputs)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, groups=4, name="grouped")(x))
    return compiled(keras.Model(inputs, layers.Dense(3, activation="softmax")(x)))


def test_a_grouped_convolution_that_is_left_one_channel_for_each_group_is_counted_like_any_other():
    model = grouped_net()

    outcome = prune_channels(model, step("filters", round_to=4), context_for(model, blobs(32)))

    assert outcome.choices["filters"] == {"conv": 4, "grouped": 8}
    assert [change.what for change in outcome.changed] == ["8 -> 4 filters", "16 -> 8 filters"]


def test_in_rounds_no_more_is_removed_where_a_grouped_convolution_has_become_a_depthwise_one():
    model = grouped_net()
    settings = step("filters", round_to=4, schedule="gradual", epochs=3)

    outcome = prune_channels(model, settings, context_for(model, blobs(32)))

    assert outcome.choices["filters"] == {"conv": 4, "grouped": 12}  # from round 1 on three outputs for each input


def test_the_epochs_of_a_round_that_removes_nothing_are_spent_after_the_next():
    model = compiled(made(two_hidden_layers))
    rounds = {"schedule": "gradual", "rounds": 2, "epochs": 3}
    settings = step("neurons", sparsity=0.28, keep=["second"], round_to=4, **rounds)

    outcome = prune_channels(model, settings, context_for(model, blobs(32, shape=(6,))))

    assert outcome.choices["units"] == {"first": 4}
    assert "fine-tuned for 3 epochs" in outcome.notes[-2]
    assert {note.split(":")[0] for note in outcome.notes[:-1]} == {"round 2 of 2, 28%"}


def test_a_model_that_takes_a_logarithm_is_proven_on_inputs_that_have_one():
    given = blobs(32, shape=(6,))
    train, val = (np.exp(split.inputs[0]) for split in (given.train, given.val))
    dataset = Dataset.from_arrays(train, given.train.targets, val, given.val.targets)
    inputs = keras.Input((6,))
    x = layers.Dense(16, activation="relu", name="hidden")(keras.ops.log(inputs))
    model = compiled(keras.Model(inputs, layers.Dense(3, activation="softmax")(x)))

    outcome = prune_channels(model, step("neurons"), context_for(model, dataset))

    assert 0 <= outcome.largest_difference < 1e-4
