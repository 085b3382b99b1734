import csv
import dataclasses

import keras

from edgepress.training.fit import fine_tune
from edgepress.training.objective import objective_of
from edgepress.training.settings import Training
from support.compress_models import blobs, compiled, dense_net, largest_difference, made

DATA = blobs(count=64, shape=(6,))


def own_loss(wanted, output):
    return keras.losses.sparse_categorical_crossentropy(wanted, output)


def trained(**wishes):
    model = compiled(made(dense_net))
    objective = objective_of(model, DATA, training=Training(**wishes))
    return fine_tune(model, DATA.training, objective, epochs=2, learning_rate=0.02)


def test_what_the_user_wants_goes_before_what_the_model_was_compiled_with():
    model = compiled(made(dense_net))

    objective = objective_of(
        model, DATA, training=Training(loss=own_loss, optimizer=keras.optimizers.SGD(0.5), batch_size=7)
    )

    assert (objective.loss, objective.learning_rate, objective.batch_size) == ((own_loss,), 0.5, 7)
    assert objective.optimizer["class_name"] == "SGD"
    assert objective.output_kinds == ("probabilities",)


def test_every_training_leaves_a_table_and_curves_in_a_folder_of_its_own(tmp_path):
    results = [trained(logs=tmp_path / "logs") for _ in range(2)]

    assert sorted(folder.name for folder in (tmp_path / "logs").iterdir()) == ["fine-tuning", "fine-tuning-2"]
    with (tmp_path / "logs/fine-tuning-2/epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == [epoch.val_loss for epoch in results[1].history]
    (events,) = (tmp_path / "logs/fine-tuning").glob("events.*")
    assert b"val_loss" in events.read_bytes()
    assert b"scalars" in events.read_bytes()


def test_layers_of_keras_augment_as_in_training():
    noise = keras.Sequential([keras.Input((6,)), keras.layers.GaussianNoise(1.0, seed=1)])

    assert largest_difference(trained().model, trained(augmentation=noise).model) > 1e-3


def test_augmentation_changes_what_is_trained_on_and_nothing_else():
    seen = []

    def negated(batch):
        seen.append(batch.shape)
        return -batch

    plain, augmented = trained(), trained(augmentation=negated)

    assert seen
    assert largest_difference(plain.model, augmented.model) > 1e-3
    assert (DATA.train.inputs[0] == blobs(count=64, shape=(6,)).train.inputs[0]).all()


def test_in_half_precision_weights_and_outputs_stay_whole_and_training_works():
    result = trained(mixed_precision=True)

    assert result.history[-1].train_loss < result.history[0].train_loss
    assert {layer.dtype_policy.name for layer in result.model.layers} == {"float32"}
    assert {weight.dtype for weight in result.model.weights} == {"float32"}
    assert 0 < largest_difference(result.model, trained().model) < 0.1


def test_settings_are_the_same_for_the_same_things_and_logs_do_not_count():
    def first(batch):
        return batch

    def second(batch):
        return batch + 1

    one = Training(augmentation=first, optimizer=keras.optimizers.SGD(0.1))
    same = Training(augmentation=first, optimizer=keras.optimizers.SGD(0.1), logs="logs")

    assert one.identity() == same.identity()
    for change in ({"augmentation": second}, {"optimizer": keras.optimizers.SGD(0.2)}, {"mixed_precision": True}):
        assert dataclasses.replace(one, **change).identity() != one.identity()
    flips, again = (Training(augmentation=keras.layers.RandomFlip(seed=1)).identity() for _ in range(2))
    assert flips == again
