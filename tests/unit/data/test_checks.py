import keras
import numpy as np
import pytest

from edgepress.data import Dataset, HeldOut, Split
from edgepress.data.checks import check_fits
from edgepress.errors import DataError

layers = keras.layers
X, Y = np.zeros((6, 4, 4, 3), np.float32), np.arange(6) % 2


def picture_model(classes=2, activation="softmax"):
    return keras.Sequential([keras.Input((4, 4, 3)), layers.Flatten(), layers.Dense(classes, activation=activation)])


def with_nan():
    x = X.copy()
    x[2, 0, 0, 0] = np.nan
    x[4, 0, 0, 0] = np.inf
    return x


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ((with_nan(), Y, X, Y), "input of train has NaN or infinity in 2 of 6 samples.*sample 2"),
        ((X, Y, X, Y.astype(float) * np.nan), "target of val has NaN"),
        ((X, Y[:5], X, Y), "target of train has 5 samples, but the split has 6"),
        ((X, Y, X[:1], Y[:1]), "at least 2 samples"),
        ((X[:0], Y[:0], X, Y), "at least 2 samples"),
        ((X, Y, X[:, :2], Y), r"input of val has samples of shape \(2, 4, 3\) but those of train have \(4, 4, 3\)"),
        ((X, Y, [X, X], Y), "val has 2 inputs but train has 1"),
        ((X, Y.astype(str), X, Y), "dtype <U.*numbers are wanted"),
        (([], Y, X, Y), "train has no inputs"),
        ((np.array(1.0), Y, X, Y), r"the input of train has the shape \(\)"),
        ((X, Y, X, Y, X.astype(np.uint8), Y), "input of test has the dtype uint8 but that of train float32"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused_with_numbers(arrays, words):
    with pytest.raises(DataError, match=words):
        Dataset.from_arrays(*arrays)


def test_one_half_of_a_test_split_is_refused():
    with pytest.raises(DataError, match="one of them is missing"):
        Dataset.from_arrays(X, Y, X, Y, X)


@pytest.mark.parametrize(
    ("x", "y", "labels", "words"),
    [
        (X[..., 0], Y, (), r"takes samples of shape \(4, 4, 3\), but those of train have the shape \(4, 4\)"),
        (X[:, :, :2].transpose(0, 3, 1, 2), Y, (), r"\(3, 4, 2\)"),
        (X, Y + 1, (), "go from 1 to 2.*2 classes: labels 0 to 1"),
        (X, Y - 1, (), "go from -1 to 0"),
        (X, np.eye(3)[Y], (), r"output .* has the shape \(2,\), but the targets of train have \(3,\)"),
        (X, Y + 0.5, (), "not whole numbers"),
        (X, Y, ("a", "b", "c"), "3 names in labels, but the model's output has 2 classes"),
        ([X, X], Y, (), "has 1 inputs, but train has 2 input arrays"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused_with_numbers(x, y, labels, words):
    dataset = Dataset.from_arrays(x, y, x, y, labels=labels)

    with pytest.raises(DataError, match=words):
        check_fits(dataset, picture_model())


def test_the_held_out_split_must_fit_as_well_and_stays_closed():
    dataset = Dataset.from_arrays(X, Y, X, Y, X, Y + 1)

    with pytest.raises(DataError, match="labels of test go from 1 to 2"):
        check_fits(dataset, picture_model())
    dataset.held_out.open("the end")


def test_names_of_labels_are_those_of_the_first_output_in_whatever_form_its_targets_are():
    inputs = keras.Input((4, 4, 3))
    flat = layers.Flatten()(inputs)
    model = keras.Model(inputs, [layers.Dense(2, activation="softmax")(flat), layers.Dense(5)(flat)])
    values = np.zeros((6, 5))

    check_fits(Dataset.from_arrays(X, [Y, values], X, [Y, values], labels=("a", "b")), model)
    with pytest.raises(DataError, match="3 names in labels"):
        check_fits(Dataset.from_arrays(X, np.eye(2)[Y], X, np.eye(2)[Y], labels=("a", "b", "c")), picture_model())


@pytest.mark.parametrize(
    ("shape", "x", "hint"),
    [
        ((4, 4, 1), X[..., 0], r"x\[\.\.\., None\]"),
        ((4, 5, 3), np.zeros((6, 3, 4, 5), np.float32), r"np\.moveaxis"),
    ],
)
def test_a_common_mistake_in_the_shape_comes_with_its_remedy(shape, x, hint):
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(2)])

    with pytest.raises(DataError, match=hint):
        check_fits(Dataset.from_arrays(x, Y, x, Y), model)


@pytest.mark.parametrize("targets", [Y, Y[:, None], np.eye(2)[Y], Y.astype(float)])
def test_labels_in_every_usual_form_fit(targets):
    check_fits(Dataset.from_arrays(X, targets, X, targets), picture_model())


def test_values_of_any_size_fit_a_single_output():
    values = np.array([5.5, -3, 1e6, 0, 1, 2])

    check_fits(Dataset.from_arrays(X, values, X, values), picture_model(1, None))


def test_the_held_out_split_is_opened_once():
    held_out = HeldOut(Split((X,), (Y,)))
    held_out.open("the end")

    with pytest.raises(DataError, match="'the end' did, now 'again' asks"):
        held_out.open("again")
