import keras
import numpy as np
import pytest

from edgepress.data import Dataset
from edgepress.errors import MetricError
from edgepress.training.objective import objective_of

layers = keras.layers


def net(activation: str | None = "softmax", units: int = 3, **compilation):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(units, activation=activation, name="out")(inputs))
    if compilation:
        model.compile(**compilation)
    return model


def data(targets) -> Dataset:
    x = np.zeros((12, 4), np.float32)
    return Dataset.from_arrays(x, targets, x, targets)


LABELS = np.arange(12) % 3
ONE_HOT = np.eye(3)[LABELS]
BINARY = (np.arange(12) % 2)[:, None]
VALUES = np.linspace(0, 1, 36).reshape(12, 3)
CROSSENTROPY = "sparse_categorical_crossentropy"


@pytest.mark.parametrize(
    ("model", "targets", "metric", "kind"),
    [
        (lambda: net(loss=CROSSENTROPY, metrics=["accuracy"]), LABELS, "accuracy", "probabilities"),
        (lambda: net(loss=CROSSENTROPY), LABELS, "accuracy", "probabilities"),
        (lambda: net(loss="categorical_crossentropy", metrics=["acc"]), ONE_HOT, "accuracy", "probabilities"),
        (
            lambda: net(None, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
            LABELS,
            "accuracy",
            "logits",
        ),
        (
            lambda: net("sigmoid", 1, loss="binary_crossentropy", metrics=["accuracy"]),
            BINARY,
            "binary_accuracy",
            "sigmoid",
        ),
        (
            lambda: net(None, 1, loss=keras.losses.BinaryCrossentropy(from_logits=True), metrics=["accuracy"]),
            BINARY,
            "binary_accuracy_logits",
            "binary logits",
        ),
        (lambda: net(None, loss="mse", metrics=["mae"]), VALUES, "mae", "values"),
        (lambda: net(loss=CROSSENTROPY, metrics=[keras.metrics.MeanAbsoluteError()]), LABELS, "mae", "probabilities"),
        (
            lambda: net("sigmoid", loss="binary_crossentropy", metrics=[keras.metrics.CategoricalAccuracy()]),
            ONE_HOT,
            "accuracy",
            "sigmoid",
        ),
        (
            lambda: net(
                None,
                1,
                loss=keras.losses.BinaryCrossentropy(from_logits=True),
                metrics=[keras.metrics.BinaryAccuracy(threshold=0)],
            ),
            BINARY,
            "binary_accuracy_logits",
            "binary logits",
        ),
    ],
)
def test_the_compiled_loss_and_metric_are_taken(model, targets, metric, kind):
    objective = objective_of(model(), data(targets))

    assert (objective.metric, objective.output_kinds) == (metric, (kind,))


@pytest.mark.parametrize(
    ("model", "targets", "loss", "metric"),
    [
        (lambda: net(), LABELS, "sparse_categorical_crossentropy", "accuracy"),
        (lambda: net(), ONE_HOT, "categorical_crossentropy", "accuracy"),
        (lambda: net("sigmoid", 1), BINARY, "binary_crossentropy", "binary_accuracy"),
        (lambda: net(None), LABELS, "SparseCategoricalCrossentropy, from_logits", "accuracy"),
        (lambda: net(None), VALUES, "mse", "mse"),
    ],
)
def test_an_uncompiled_model_is_judged_by_what_its_output_can_only_mean(model, targets, loss, metric):
    objective = objective_of(model(), data(targets))

    assert (objective.as_dict()["loss"], objective.metric) == ([loss], metric)


@pytest.mark.parametrize(("activation", "targets"), [("tanh", VALUES), (None, ONE_HOT), ("relu", LABELS)])
def test_an_uncompiled_model_that_could_mean_anything_asks_for_a_metric(activation, targets):
    with pytest.raises(MetricError, match="--metric"):
        objective_of(net(activation), data(targets))


@pytest.mark.parametrize(
    ("activation", "targets", "metric", "loss", "kind"),
    [
        ("tanh", VALUES, "mae", "mae", "values"),
        (None, ONE_HOT, "mse", "mse", "values"),
        (None, ONE_HOT, "accuracy", "CategoricalCrossentropy, from_logits", "logits"),
        ("relu", LABELS, "top_5_accuracy@0", "SparseCategoricalCrossentropy, from_logits", "logits"),
        (None, ONE_HOT, "binary_accuracy_logits", "BinaryCrossentropy, from_logits", "binary logits"),
    ],
)
def test_the_metric_asked_for_tells_how_an_uncompiled_model_is_trained(activation, targets, metric, loss, kind):
    objective = objective_of(net(activation), data(targets), metric)

    assert (objective.as_dict()["loss"], objective.metric, objective.output_kinds) == ([loss], metric, (kind,))


def test_a_metric_that_tells_no_loss_is_not_asked_for_again():
    with pytest.raises(MetricError, match="nor does the metric binary_accuracy: compile the model"):
        objective_of(net(None), data(ONE_HOT), "binary_accuracy")


def own_loss(wanted, output):
    return keras.ops.mean(keras.ops.abs(wanted - output), axis=-1)


def test_with_a_loss_of_the_user_s_own_the_activation_tells_what_outputs_are():
    kinds = [objective_of(net(a, loss=own_loss), data(VALUES)).output_kinds[0] for a in ("softmax", "sigmoid", None)]

    assert kinds == ["probabilities", "sigmoid", "values"]
    assert objective_of(net("sigmoid", loss="mse"), data(VALUES)).output_kinds == ("values",)


def test_a_model_compiled_without_a_loss_counts_as_uncompiled():
    assert objective_of(net(metrics=["accuracy"]), data(LABELS)).as_dict()["loss"] == [CROSSENTROPY]


def test_the_metric_asked_for_goes_before_the_compiled_one():
    model = net(loss=CROSSENTROPY, metrics=["accuracy"])

    assert objective_of(model, data(LABELS), "top_5_accuracy").metric == "top_5_accuracy"
    with pytest.raises(MetricError, match="there is no metric 'f2'"):
        objective_of(model, data(LABELS), "f2")


def test_compiled_metrics_that_a_board_cannot_compute_ask_for_one():
    with pytest.raises(MetricError, match=r"AUC.*--metric"):
        objective_of(net(loss=CROSSENTROPY, metrics=[keras.metrics.AUC()]), data(LABELS))


def test_learning_rate_and_optimizer_are_the_compiled_ones():
    objective = objective_of(net(optimizer=keras.optimizers.SGD(0.25), loss=CROSSENTROPY), data(LABELS))

    assert (objective.learning_rate, objective.as_dict()["optimizer"]) == (0.25, "SGD")


@pytest.mark.parametrize(
    "schedule",
    [
        lambda of: of.CosineDecay(0.125, 10),
        lambda of: of.CosineDecay(0.0, 10, warmup_target=0.125, warmup_steps=5),
        lambda of: of.PiecewiseConstantDecay([5], [0.125, 0.5]),
    ],
)
def test_of_a_schedule_the_rate_at_its_start_or_behind_its_warm_up_is_taken(schedule):
    schedule = schedule(keras.optimizers.schedules)

    objective = objective_of(net(optimizer=keras.optimizers.Adam(schedule), loss=CROSSENTROPY), data(LABELS))

    assert objective.learning_rate == 0.125


def test_of_an_optimizer_that_scales_losses_the_one_inside_is_taken():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.25))

    objective = objective_of(net(optimizer=optimizer, loss=CROSSENTROPY), data(LABELS))

    assert (objective.learning_rate, objective.as_dict()["optimizer"]) == (0.25, "SGD")


def test_a_sequential_and_a_nested_model_are_read_like_any_other():
    sequential = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Softmax()])
    inputs = keras.Input((4,))
    nested = keras.Model(inputs, sequential(inputs))
    compiled = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
    compiled.compile(loss=CROSSENTROPY)

    for model in (sequential, nested, compiled):
        assert objective_of(model, data(LABELS)).output_kinds == ("probabilities",)


@pytest.mark.parametrize(
    "moved",
    [
        lambda x: layers.Reshape((1, 1))(x),
        lambda x: layers.Flatten()(layers.Permute((2, 1))(layers.Reshape((1, 1))(x))),
        lambda x: keras.ops.squeeze(keras.ops.expand_dims(x, -1), -1),
        lambda x: layers.Concatenate()([x, x]),
        lambda x: layers.Activation("linear", dtype="float32")(x),
        lambda x: keras.Sequential([keras.Input((1,)), layers.Flatten()])(x),
    ],
)
def test_an_activation_counts_behind_which_numbers_are_only_moved(moved):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, moved(layers.Dense(1, activation="sigmoid")(inputs)))
    model.compile(loss="binary_crossentropy")

    objective = objective_of(model, data(BINARY))

    assert (objective.metric, objective.output_kinds) == ("binary_accuracy", ("sigmoid",))


def test_losses_given_by_output_name_are_put_in_model_order():
    inputs = keras.Input((4,))
    outputs = [layers.Dense(3, name="value")(inputs), layers.Dense(3, activation="softmax", name="kind")(inputs)]
    model = keras.Model(inputs, outputs)
    model.compile(loss={"kind": "categorical_crossentropy", "value": "mse"})
    dataset = Dataset.from_arrays(
        np.zeros((12, 4), np.float32), [VALUES, ONE_HOT], np.zeros((12, 4), np.float32), [VALUES, ONE_HOT]
    )

    with pytest.raises(MetricError, match=r"different kinds \(values, probabilities\).*--metric"):
        objective_of(model, dataset)
    assert objective_of(model, dataset, "mse").loss == ("mse", "categorical_crossentropy")


def two_outputs(as_dict: bool = False, **compilation):
    inputs = keras.Input((4,))
    first, second = (layers.Dense(3, name=name)(inputs) for name in ("one", "two"))
    model = keras.Model(inputs, {"b": first, "a": second} if as_dict else [first, second])
    model.compile(**compilation)
    return model


TWO = Dataset.from_arrays(
    np.zeros((12, 4), np.float32), [VALUES, VALUES], np.zeros((12, 4), np.float32), [VALUES, VALUES]
)


@pytest.mark.parametrize(("given", "taken"), [([0.5, 2], (0.5, 2.0)), ({"two": 3, "one": 1}, (1.0, 3.0)), (None, ())])
def test_the_compiled_weights_of_several_losses_are_taken_in_model_order(given, taken):
    model = two_outputs(loss=["mse", "mae"], loss_weights=given)

    assert objective_of(model, TWO).loss_weights == taken


def test_losses_of_a_model_that_answers_with_a_dict_are_named_by_its_keys():
    objective = objective_of(two_outputs(True, loss={"a": "mse", "b": "mae"}, loss_weights={"a": 1, "b": 0.1}), TWO)

    assert (objective.loss, objective.loss_weights) == (("mse", "mae"), (1.0, 0.1))
