import keras
import numpy as np
import pytest

from edgepress.compression.distillation.response import _loss, _teacher_signal, distill_response
from edgepress.compression.distillation.students import scaled_width
from edgepress.compression.graph.reader import read
from edgepress.compression.recipe import DistillStep, Width
from edgepress.errors import CompressionError
from edgepress.training.evaluate import predict
from edgepress.training.metrics import metric_named
from support.compress_models import blobs, compiled, context_for, dense_net, made, residual_cnn

layers = keras.layers


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def test_a_student_of_half_the_width_keeps_inputs_outputs_and_residual_sums():
    student, changed = scaled_width(made(residual_cnn), 0.5, seed=0)

    widths = {name: layer.filters for name, layer in read(student).layers().items() if hasattr(layer, "filters")}
    assert widths == {"stem": 4, "wide": 8, "project": 4, "head": 8}
    assert student.output_shape == (None, 3)
    assert ("features", "24 -> 16 units") in [(change.layer, change.what) for change in changed]


def test_the_same_seed_gives_the_same_student():
    first, second = (scaled_width(made(residual_cnn), 0.5, seed=7)[0] for _ in range(2))

    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


def test_a_graph_that_does_not_follow_a_change_of_width_asks_for_a_student():
    inputs = keras.Input((4, 4, 16))
    x = layers.Add(name="add")([inputs, layers.Conv2D(16, 1)(inputs)])
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))

    with pytest.raises(CompressionError, match=r"'add'.*student = ") as caught:
        scaled_width(model, 0.5, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_loss_is_the_divergence_of_softened_answers_times_the_square_of_temperature(temperature):
    generator = np.random.default_rng(0)
    teacher, student = generator.normal(size=(2, 6, 5))
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=-1)

    on_logits = _loss("logits", temperature)(teacher, student)
    signal = _teacher_signal(softmax(teacher).astype(np.float32), "probabilities")
    on_probabilities = _loss("probabilities", temperature)(signal, softmax(student).astype(np.float32))

    np.testing.assert_allclose(on_logits, expected, rtol=1e-5)
    np.testing.assert_allclose(on_probabilities, expected, rtol=1e-3)


@pytest.mark.parametrize("kind", ["probabilities", "sigmoid"])
def test_a_teacher_that_is_quite_sure_gives_finite_losses(kind):
    sure = np.array([[1.0, 0.0]], np.float32)

    loss = _loss(kind, 4.0)(_teacher_signal(sure, kind), sure[:, ::-1])

    assert np.isfinite(np.asarray(loss)).all()


@pytest.mark.parametrize(("kind", "temperature"), [("sigmoid", 2.0), ("binary logits", 2.0), ("values", 1.0)])
def test_equal_answers_have_the_smallest_loss(kind, temperature):
    answer = np.array([[0.2], [0.7]], np.float32)
    signal = _teacher_signal(answer, kind)
    loss = _loss(kind, temperature)

    assert (np.asarray(loss(signal, answer)) < np.asarray(loss(signal, answer + 0.1))).all()


def test_a_student_learns_from_the_teacher_which_stays_as_it_was():
    dataset = blobs(count=256, shape=(6,))
    teacher = compiled(made(dense_net), learning_rate=0.02)
    teacher.fit(dataset.train.inputs[0], dataset.train.targets[0], epochs=3, verbose=0)
    before = [weight.copy() for weight in teacher.get_weights()]
    settings = DistillStep(kind="distill", student=Width(width=0.5), epochs=4, learning_rate=0.02)

    outcome = distill_response(teacher, settings, context_for(teacher, dataset))

    outputs = predict(outcome.model, dataset.val.inputs)
    assert metric_named("accuracy").compute(outputs, dataset.val.targets) > 0.8
    assert outcome.model.count_params() < teacher.count_params()
    assert all(np.array_equal(a, b) for a, b in zip(teacher.get_weights(), before, strict=True))
    assert all(layer.trainable for layer in teacher.layers)
    assert all(layer.trainable for layer in outcome.model.layers)


def test_a_teacher_file_is_known_by_its_content(tmp_path):
    dataset = blobs(shape=(6,))
    model = compiled(made(dense_net))
    model.save(tmp_path / "big.keras")
    settings = DistillStep(kind="distill", teacher=str(tmp_path / "big.keras"), epochs=1)

    outcome = distill_response(model, settings, context_for(model, dataset))

    assert set(outcome.choices["teacher"]) == {"sha256"}
    assert str(tmp_path) not in str(outcome.choices)


def test_a_teacher_with_other_outputs_is_refused(tmp_path):
    dataset = blobs()
    made(residual_cnn, classes=5).save(tmp_path / "other.keras")
    model = compiled(made(residual_cnn))
    settings = DistillStep(kind="distill", teacher=str(tmp_path / "other.keras"), epochs=1)

    with pytest.raises(CompressionError, match=r"outputs of shape \[\(None, 5\)\], the student \[\(None, 3\)\]"):
        distill_response(model, settings, context_for(model, dataset))
