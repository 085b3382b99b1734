import sys

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.errors import MetricError
from edgepress.training.metrics import METRICS, metric_named, wilson

GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.normal(size=(40, 7)).astype(np.float32)
LABELS = GENERATOR.integers(0, 7, 40)


def test_accuracy_takes_integer_one_hot_and_column_targets_alike():
    accuracy = metric_named("accuracy")
    expected = float((SCORES.argmax(-1) == LABELS).mean())

    for targets in (LABELS, LABELS[:, None], np.eye(7)[LABELS]):
        assert accuracy.compute((SCORES,), (targets,)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "keras_metric", "outputs", "targets"),
    [
        ("accuracy", keras.metrics.SparseCategoricalAccuracy(), SCORES, LABELS),
        ("top_5_accuracy", keras.metrics.SparseTopKCategoricalAccuracy(5), SCORES, LABELS),
        ("binary_accuracy", keras.metrics.BinaryAccuracy(), SCORES[:, :1], (LABELS > 3)[:, None]),
        ("binary_accuracy_logits", keras.metrics.BinaryAccuracy(threshold=0.0), SCORES[:, :1], (LABELS > 3)[:, None]),
        ("mse", keras.metrics.MeanSquaredError(), SCORES, SCORES[::-1]),
        ("mae", keras.metrics.MeanAbsoluteError(), SCORES, SCORES[::-1]),
    ],
)
def test_every_metric_is_what_keras_computes(name, keras_metric, outputs, targets):
    keras_metric.update_state(targets, outputs)

    assert metric_named(name).compute((outputs,), (targets,)) == pytest.approx(float(keras_metric.result()), rel=1e-5)


def test_a_flat_target_fits_a_column_output():
    assert metric_named("mse").compute((np.ones((4, 1)),), (np.array([1, 1, 1, 3]),)) == 1.0


def test_several_outputs_are_averaged():
    right, wrong = np.eye(3), np.roll(np.eye(3), 1, axis=1)

    assert metric_named("accuracy").compute((right, wrong), (np.arange(3), np.arange(3))) == 0.5


def test_outputs_of_several_kinds_are_judged_by_one_of_them():
    outputs, targets = [np.eye(2), np.zeros((2, 1))], [np.array([0, 0]), np.array([[1.0], [3.0]])]

    assert metric_named("accuracy@0").compute(outputs, targets) == 0.5
    assert metric_named("mae@1").compute(outputs, targets) == 2
    assert not metric_named("mae@1").higher_is_better
    with pytest.raises(MetricError, match="mse@2: the model has 2 outputs; they are numbered from 0"):
        metric_named("mse@2").compute(outputs, targets)
    with pytest.raises(MetricError, match="'mae@box': after @ comes the number"):
        metric_named("mae@box")


def test_wilson_s_interval_has_the_published_values():
    low, high = wilson(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20)[0] == 0
    assert 0.83 < wilson(20, 20)[0] < 0.84


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_s_interval_holds_the_share_and_stays_within_0_and_1(case):
    successes, count = case
    low, high = wilson(successes, count)

    assert 0 <= low <= successes / count + 1e-12
    assert successes / count - 1e-12 <= high <= 1


def test_intervals_are_wilson_s_for_accuracy_and_a_seeded_bootstrap_for_others():
    accuracy, mse = metric_named("accuracy"), metric_named("mse")
    correct = int((SCORES.argmax(-1) == LABELS).sum())

    assert accuracy.interval((SCORES,), (LABELS,)) == wilson(correct, 40)
    low, high = mse.interval((SCORES,), (np.zeros_like(SCORES),))
    assert low < mse.compute((SCORES,), (np.zeros_like(SCORES),)) < high
    assert (low, high) == mse.interval((SCORES,), (np.zeros_like(SCORES),))


def test_higher_confidence_is_a_wider_interval():
    targets = (np.zeros_like(SCORES),)
    narrow = metric_named("mae").interval((SCORES,), targets, confidence=0.5)
    wide = metric_named("mae").interval((SCORES,), targets, confidence=0.99)

    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_an_unknown_metric_lists_those_that_exist():
    with pytest.raises(MetricError) as caught:
        metric_named("f1")

    assert all(name in str(caught.value) for name in METRICS)


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "words"),
    [
        ("accuracy", np.ones((4, 1)), np.ones(4), "binary_accuracy"),
        ("accuracy", np.ones((4, 3)), np.ones((4, 2)), r"\(4, 2\)"),
        ("mse", np.ones((4, 3)), np.ones(4), r"\(4,\)"),
        ("mse", np.ones((4, 3)), np.ones((5, 3)), "4 output samples but 5 targets"),
        ("accuracy", np.ones((4, 3)), np.arange(4), "labels from 0 to 3, but 3 classes: 0 to 2 are wanted"),
        ("top_5_accuracy", np.ones((4, 3)), np.arange(4) - 1, "labels from -1 to 2"),
        ("binary_accuracy", np.ones((2, 1)), np.array([1, 2]), "targets go from 1 to 2; 0 and 1 are wanted"),
        ("binary_accuracy_logits", np.ones((2, 1)), np.array([-1, 1]), "targets go from -1 to 1"),
    ],
)
def test_what_does_not_fit_is_an_error_with_the_shapes(name, outputs, targets, words):
    with pytest.raises(MetricError, match=words):
        metric_named(name).compute((outputs,), (targets,))


def dice(output, target):
    return 2 * (output * target).sum(axis=1) / (output + target).sum(axis=1)


def distance(output, target):
    return np.abs(output - target).mean(axis=1)


distance.higher_is_better = False


def no_scores(output, target):
    return float(output.sum())


def test_a_function_of_the_user_s_own_is_a_metric_with_an_interval(monkeypatch):
    monkeypatch.setitem(sys.modules, "my_metrics", sys.modules[__name__])
    output, target = np.random.default_rng(0).uniform(size=(2, 20, 3))

    metric = metric_named("my_metrics:dice")

    assert (metric.name, metric.higher_is_better) == ("my_metrics:dice", True)
    assert not metric_named("my_metrics:distance").higher_is_better
    low, high = metric.interval([output], [target])
    assert low < metric.compute([output], [target]) < high


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my_metrics:nothing", "module 'my_metrics' has no function 'nothing'"),
        ("no_such_module:f", "there is no module 'no_such_module'"),
        ("my_metrics:no_scores", r"my_metrics:no_scores gave scores of shape \(\) for 20 samples"),
    ],
)
def test_a_metric_of_the_user_s_own_that_cannot_be_had_is_explained(name, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "my_metrics", sys.modules[__name__])
    output = np.ones((20, 3))

    with pytest.raises(MetricError, match=words):
        metric_named(name).compute([output], [output])
