import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from edgepress.training.classes import scores_by_class


def as_columns(scores):
    return [[getattr(one, key) for one in scores] for key in ("precision", "recall", "f1", "samples")]


@pytest.mark.parametrize("one_hot", [False, True])
def test_scores_of_classes_are_scikit_learn_s(one_hot):
    generator = np.random.default_rng(0)
    output, labels = generator.normal(size=(50, 4)), generator.integers(0, 3, 50)
    targets = np.eye(4)[labels] if one_hot else labels

    scores = scores_by_class([output], [targets], ["logits"], labels=("a", "b", "c", "nobody"))

    expected = precision_recall_fscore_support(labels, output.argmax(axis=1), labels=range(4), zero_division=0)
    np.testing.assert_allclose(as_columns(scores), expected)
    assert [one.label for one in scores] == ["a", "b", "c", "nobody"]


def test_a_single_sigmoid_tells_two_classes_and_several_tell_one_each():
    yes = np.array([[0.9], [0.8], [0.2], [0.1]])

    (no, taken) = scores_by_class([yes], [np.array([1, 0, 0, 0])], ["sigmoid"])
    both = scores_by_class([np.hstack([yes, yes])], [np.array([[1, 0]] * 4)], ["sigmoid"])

    assert (no.recall, no.precision, taken.recall, taken.precision) == (2 / 3, 1, 1, 0.5)
    assert [one.samples for one in both] == [4, 0]


def test_values_have_no_classes_and_outputs_are_numbered():
    output = np.eye(2)

    scores = scores_by_class([output, output], [np.ones((2, 2)), np.array([0, 1])], ["values", "probabilities"])

    assert [(one.output, one.label, one.f1) for one in scores] == [(1, "0", 1.0), (1, "1", 1.0)]
