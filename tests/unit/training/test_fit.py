import random
import re
from contextlib import contextmanager

import keras
import numpy as np
import pytest

from edgepress.data import Dataset, Split, TrainingData
from edgepress.training import estimate
from edgepress.training.evaluate import loss_of, predict
from edgepress.training.fit import fine_tune
from edgepress.training.guidance import Guidance, Lesson, Lessons
from edgepress.training.metrics import metric_named
from edgepress.training.objective import objective_of
from edgepress.training.settings import Training
from edgepress.training.zeros import zero_masks
from support.compress_models import blobs, compiled, dense_net, largest_difference, made

layers = keras.layers
DATA = blobs(shape=(6,))


def tuned(model, **settings):
    return fine_tune(model, DATA.training, objective_of(model, DATA), **{"epochs": 2, **settings})


def told(weight, *signals):
    """Guidance by what the first outputs are to be."""

    def lessons(student):
        wanted = [keras.Input(signal.shape[1:]) for signal in signals]
        pairs = zip(student.outputs, wanted, strict=False)
        return Lessons([Lesson(given, each, lambda a, b: (a - b) ** 2) for given, each in pairs], wanted, signals)

    return Guidance(weight, lessons)


class Recorder:
    """A progress that remembers what it was told."""

    def __init__(self):
        self.updates, self.notes = [], []

    @contextmanager
    def task(self, description, total=None, unit="steps"):
        self.description, self.total = description, total
        yield self

    def update(self, done, total=None, message=None):
        self.updates.append((done, message))

    def note(self, message):
        self.notes.append(message)


def test_training_makes_the_model_better_and_leaves_the_one_given_alone():
    model = compiled(made(dense_net))
    before = [weight.copy() for weight in model.get_weights()]

    result = tuned(model, epochs=4, learning_rate=0.02)

    accuracy = metric_named("accuracy")
    given, got = (accuracy.compute(predict(one, DATA.val.inputs), DATA.val.targets) for one in (model, result.model))
    assert got > given
    assert len(result.history) == 4
    assert result.history[-1].val_loss < result.history[0].val_loss
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_the_weights_are_those_of_the_best_epoch_and_training_stops_when_none_follows():
    model = compiled(made(dense_net))
    train, val, spec = DATA.train, DATA.val, DATA.input_spec
    mislabelled = Split(train.inputs, ((train.targets[0] + 1) % 3,))

    result = fine_tune(
        model, TrainingData(mislabelled, val, spec), objective_of(model, DATA), epochs=9, learning_rate=0.05, patience=2
    )

    assert result.best_epoch == 0
    assert len(result.history) == 2
    assert "none of which was better" in result.summary
    assert largest_difference(model, result.model) == 0


def test_a_training_that_ends_in_nan_gives_the_weights_from_before():
    model = compiled(made(dense_net))

    result = tuned(model, epochs=1, learning_rate=1e38)

    assert all(np.isfinite(weight).all() for weight in result.model.get_weights())
    assert "the loss became NaN or infinite, a smaller learning_rate may help" in result.summary


def test_no_epochs_give_the_model_itself():
    model = compiled(made(dense_net))

    assert tuned(model, epochs=0).model is model


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before():
    inputs = keras.Input((6,))
    x = layers.Dropout(0.3)(layers.Dense(16)(inputs))
    model = compiled(keras.Model(inputs, layers.Dense(3, activation="softmax")(x)))
    first = tuned(model, epochs=1, seed=5)
    random.random()
    np.random.default_rng().random()

    second = tuned(model, epochs=1, seed=5)

    assert largest_difference(first.model, second.model) < 1e-6


def test_python_s_own_generator_is_left_as_it_was():
    random.seed(1)
    expected = random.random()
    random.seed(1)

    tuned(compiled(made(dense_net)), epochs=1)

    assert random.random() == expected


def test_progress_is_told_of_every_batch():
    recorder = Recorder()

    tuned(compiled(made(dense_net)), progress=recorder, description="Teaching")

    assert (recorder.description, recorder.total) == ("Teaching", 2 * 3)  # 96 samples in batches of 32
    assert [done for done, _ in recorder.updates] == [1, 2, 3, 4, 5, 6]
    assert recorder.updates[-1][1] == "epoch 2 of 2"


@pytest.mark.parametrize("share", [0.5, 0.02])
def test_pruned_weights_stay_zero_and_the_others_move(share):
    model = compiled(made(dense_net))
    kernel = model.get_layer("hidden").kernel
    mask = np.random.default_rng(0).random(kernel.shape) > share
    kernel.assign(np.asarray(kernel) * mask)

    result = tuned(model, epochs=1)

    trained = np.asarray(result.model.get_layer("hidden").kernel)
    assert (trained[~mask] == 0).all()
    assert (trained[mask] != np.asarray(kernel)[mask]).mean() > 0.9


def test_a_kernel_that_was_initialised_with_zeros_is_not_taken_for_pruned():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3, kernel_initializer="zeros")(inputs))

    assert zero_masks(model) == {}


def test_frozen_layers_stay_frozen():
    model = made(dense_net)
    model.get_layer("hidden").trainable = False

    result = tuned(compiled(model), epochs=1)

    np.testing.assert_array_equal(result.model.get_layer("hidden").kernel, model.get_layer("hidden").kernel)


def test_guidance_pulls_the_outputs_towards_its_signal():
    model = compiled(made(dense_net))
    signal = np.tile(np.array([[1.0, 0.0, 0.0]], np.float32), (len(DATA.train), 1))
    guidance = told(1.0, signal)
    objective = objective_of(model, DATA)

    result = fine_tune(model, DATA.training, objective, epochs=1, learning_rate=0.05, guidance=guidance)

    # The validation loss (of the labels) decides which epoch is kept; the training loss is the signal's alone.
    assert result.history[0].train_loss < 0.3


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.AdamW(0.01)])
def test_the_compiled_optimizer_is_used_again(optimizer):
    model = made(dense_net)
    model.compile(optimizer, "sparse_categorical_crossentropy")

    assert tuned(model, epochs=1).history[0].train_loss > 0


def test_several_inputs_and_outputs_of_a_dict_model_are_trained():
    inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((6,), name="b")}
    x = layers.Concatenate()(list(inputs.values()))
    outputs = {"p": layers.Dense(3, activation="softmax", name="p")(x), "q": layers.Dense(3, activation="softmax")(x)}
    model = keras.Model(inputs, outputs)
    train, val = DATA.train, DATA.val
    doubled = Dataset.from_arrays(train.inputs * 2, train.targets * 2, val.inputs * 2, val.targets * 2, seed=0)

    result = fine_tune(model, doubled.training, objective_of(model, doubled), epochs=1)

    assert result.history[0].train_loss > 0
    assert set(result.model.output) == {"p", "q"}


@pytest.mark.parametrize("guided", [False, True])
def test_an_output_whose_loss_weighs_nothing_is_not_trained(guided):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, [layers.Dense(1, name="trained")(inputs), layers.Dense(1, name="ignored")(inputs)])
    model.compile("adam", ["mse", "mse"], loss_weights=[1, 0])
    x, values = DATA.train.inputs[0], np.ones((len(DATA.train), 1), np.float32)
    dataset = Dataset.from_arrays(x, [values, values], x, [values, values])
    guidance = None
    if guided:
        guidance = told(0.5, values)

    tuned_model = fine_tune(model, dataset.training, objective_of(model, dataset), epochs=1, guidance=guidance).model

    moved = [
        not np.array_equal(tuned_model.get_layer(name).kernel, model.get_layer(name).kernel)
        for name in ("trained", "ignored")
    ]
    assert moved == [True, False]


def test_a_long_training_says_before_it_starts_how_long_it_will_take_and_is_not_changed_by_that(monkeypatch):
    inputs = keras.Input((6,))
    x = layers.Dropout(0.3)(layers.BatchNormalization()(layers.Dense(16)(inputs)))
    model = compiled(keras.Model(inputs, layers.Dense(3, activation="softmax")(x)))
    recorder = Recorder()
    silent = tuned(model, epochs=2, progress=recorder)
    assert recorder.notes == []
    monkeypatch.setattr(estimate, "_WORTH_ESTIMATING", 6)

    told = tuned(model, epochs=2, progress=recorder, description="Teaching")

    (said,) = recorder.notes
    assert re.fullmatch(r"Teaching: about \d+ s for 2 epochs of 3 batches", said)
    assert recorder.updates[len(recorder.updates) // 2][0] == 1  # its batches are not among those that are counted
    assert largest_difference(silent.model, told.model) < 1e-6


def test_a_long_training_of_one_batch_an_epoch_is_told_how_long_too(monkeypatch):
    model, recorder = compiled(made(dense_net)), Recorder()
    objective = objective_of(model, DATA, training=Training(batch_size=96))
    monkeypatch.setattr(estimate, "_WORTH_ESTIMATING", 2)

    fine_tune(model, DATA.training, objective, epochs=2, progress=recorder, description="Teaching")

    assert re.fullmatch(r"Teaching: about \d+ s for 2 epochs of 1 batches", recorder.notes[0])


@pytest.mark.parametrize(("seconds", "words"), [(3.4, "3 s"), (100, "2 min"), (5300, "88 min"), (9000, "2.5 h")])
def test_an_estimate_has_as_many_digits_as_it_is_sure_of(seconds, words):
    assert estimate.duration_in_words(seconds) == words


def test_epochs_before_the_first_that_counts_are_not_returned():
    model = compiled(made(dense_net))

    result = tuned(model, epochs=4, learning_rate=0.05, first_epoch=4, patience=1)

    assert (len(result.history), result.best_epoch) == (4, 4)


def test_what_callbacks_do_to_the_model_happens_before_an_epoch_is_judged():
    model = compiled(made(dense_net))

    class Zero(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernel = self.model.get_layer("classes").kernel
            kernel.assign(kernel * 0)

    result = tuned(model, epochs=1, first_epoch=1, callbacks=[Zero()])

    assert (np.asarray(result.model.get_layer("classes").kernel) == 0).all()


def test_penalties_on_weights_count_in_training_but_not_where_a_model_is_judged():
    plain = compiled(made(dense_net))
    penalised = compiled(made(dense_net))
    penalised.get_layer("hidden").kernel_regularizer = keras.regularizers.L2(10)
    objective = objective_of(plain, DATA)
    expected = loss_of(plain, DATA.val, objective)

    (epoch,) = tuned(penalised, epochs=1, learning_rate=1e-9).history

    assert loss_of(penalised, DATA.val, objective) == pytest.approx(expected, rel=1e-5)
    assert epoch.val_loss == pytest.approx(expected, rel=1e-4)
    assert epoch.train_loss > 2 * expected


def test_the_same_seed_augments_alike():
    def augmented():
        noise = keras.Sequential([layers.GaussianNoise(1.0)])
        model = compiled(made(dense_net))
        objective = objective_of(model, DATA, training=Training(augmentation=noise))
        return fine_tune(model, DATA.training, objective, epochs=1, learning_rate=0.05, seed=5).model

    assert largest_difference(augmented(), augmented()) < 1e-6
