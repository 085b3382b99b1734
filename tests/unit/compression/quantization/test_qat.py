import dataclasses

import keras
import numpy as np
import pytest

import edgepress
from edgepress.compression.compress import compress
from edgepress.compression.pruning.weights import prune_weights
from edgepress.compression.quantization.annotate import fake_quants
from edgepress.compression.quantization.qat import quantize_aware, set_ranges_in_model
from edgepress.compression.recipe import PruneStep, QuantizeStep, parse_recipe
from edgepress.compression.recovery import learning_rate_of
from edgepress.conversion import convert_model
from edgepress.errors import CompressionError
from edgepress.training.evaluate import predict
from edgepress.training.objective import objective_of
from edgepress.verification.reference import run_file, to_real
from edgepress_converters.options import ConversionOptions
from support.compress_models import blobs, compiled, context_for, made

DATA = blobs()
INT8 = ConversionOptions(format="int8")


def small_cnn():
    inputs = keras.Input((8, 8, 2), name="picture")
    x = keras.layers.Conv2D(16, 3, use_bias=False, name="conv")(inputs)
    x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D()(x))
    return compiled(keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="classes")(x)))


def step(**settings):
    return QuantizeStep(kind="quantize", method="qat", **settings)


def context(model):
    return dataclasses.replace(context_for(model, DATA), conversion=INT8)


@pytest.fixture(scope="module")
def trained():
    model = made(small_cnn)
    return quantize_aware(model, step(epochs=2, learning_rate=3e-3), context(model))


def test_the_file_says_what_the_keras_model_says(trained, tmp_path, worker_pool):
    file = convert_model(trained.model, tmp_path / "m.tflite", trained.conversion, None, worker_pool)
    (answers,) = to_real(file, run_file(file, DATA.training.val.inputs, worker_pool))

    (expected,) = predict(trained.model, DATA.training.val.inputs)
    assert not file.float_operators
    assert np.abs(answers - expected).max() <= 2 * file.outputs[0].scale
    assert (answers.argmax(-1) == expected.argmax(-1)).all()


def test_training_moves_weights_and_ranges_and_keeps_names(trained):
    untrained = quantize_aware(made(small_cnn), step(epochs=0), context(made(small_cnn))).model

    def values(model):
        layers = {layer.name: layer for layer in model.layers}
        return [np.asarray(x) for x in (layers["conv"].kernel, layers["classes"].bias, layers["relu_range"].maximum)]

    for after, before in zip(values(trained.model), values(untrained), strict=True):
        assert np.abs(after - before).max() > 0
    assert trained.conversion == dataclasses.replace(INT8, ranges="in-model")


def test_a_tenth_of_the_learning_rate_of_the_training_before_is_the_default():
    objective = context(made(small_cnn)).objective

    assert learning_rate_of(step(epochs=1), objective) == pytest.approx(3e-4)
    assert learning_rate_of(step(epochs=1, learning_rate=0.5), objective) == 0.5


@pytest.mark.parametrize("block", [None, "1x4"])
def test_zeros_of_a_pruned_model_stay_zeros(block):
    model = made(small_cnn)
    prune = PruneStep(kind="prune", structure="weights", sparsity=0.75, epochs=0, block=block)
    pruned = prune_weights(model, prune, context(model)).model
    zeros = {layer.name: np.asarray(layer.kernel) == 0 for layer in pruned.layers if hasattr(layer, "kernel")}

    quantized = quantize_aware(pruned, step(epochs=1, learning_rate=1e-2), context(model)).model

    assert zeros["classes"].mean() == 0.75
    for name, mask in zeros.items():
        rounded = np.asarray(quantized.get_layer(name).per_tensor(quantized.get_layer(name).kernel))
        assert not rounded[mask].any()


def test_the_training_is_in_float32_where_others_are_in_half_precision():
    model = made(small_cnn)
    halved = context(model)
    halved = dataclasses.replace(halved, objective=dataclasses.replace(halved.objective, mixed_precision=True))

    notes = [quantize_aware(model, step(epochs=1), one).notes for one in (halved, context(model))]

    assert notes[0] == notes[1]


def test_what_a_model_with_ranges_answers_is_known_as_before():
    model = made(small_cnn)
    ranged = compiled(quantize_aware(model, step(epochs=0), context(model)).model)

    assert objective_of(ranged, DATA).output_kinds == objective_of(model, DATA).output_kinds == ("probabilities",)


def test_a_model_with_ranges_is_not_given_others():
    model = made(small_cnn)
    once = quantize_aware(model, step(epochs=0), context(model)).model

    with pytest.raises(CompressionError, match="has ranges for int8 already"):
        quantize_aware(once, step(epochs=0), context(model))


def recipe(text):
    return parse_recipe(text, source="mine.toml", default_name="mine")


def test_a_recipe_puts_ranges_found_by_mse_into_the_model_and_takes_them_over_from_a_checkpoint(tmp_path):
    model = made(small_cnn)
    wanted = recipe('[convert]\nformat = "int8"\ncalibration = "mse"\ncalibration_samples = 20')

    first, again = (
        compress(model, wanted, DATA.training, objective_of(model, DATA), checkpoints=tmp_path) for _ in range(2)
    )

    (entry,) = first.report.entries
    assert entry.settings == {"kind": "quantize", "method": "ptq"}
    assert entry.changed[0].what == "4 ranges, 1 of them prescribed by TFLite"
    assert (first.conversion.ranges, first.conversion.calibration) == ("in-model", "mse")
    assert first.report.parameters_after < first.report.parameters_before
    assert again.report.recipe_id == first.report.recipe_id
    for ours, theirs in zip(fake_quants(first.model).items(), fake_quants(again.model).items(), strict=True):
        assert ours[0] == theirs[0]
        assert ours[1].get_weights() == theirs[1].get_weights()


def test_a_teacher_that_follows_in_the_recipe_guides_the_training_for_int8():
    model = made(small_cnn)
    text = '[[step]]\nkind = "quantize"\nmethod = "qat"\nepochs = 1\n'
    text += '[[step]]\nkind = "distill"\nepochs = 1\n[convert]\nformat = "int8"'

    compressed = compress(model, recipe(text), DATA.training, objective_of(model, DATA))

    assert "with a teacher" in compressed.report.entries[0].notes[0]
    assert compressed.conversion.ranges == "in-model"
    assert fake_quants(compressed.model)


def test_training_repairs_what_calibration_alone_cannot():
    """Channels of one tensor are up to 97 times apart, undone in the next layer: the network computes the same."""
    data = blobs(count=512, classes=8)

    def net():
        inputs = keras.Input((8, 8, 2))
        x = keras.layers.Conv2D(16, 3, name="conv", activation="relu")(inputs)
        x = keras.layers.Dense(8, activation="softmax", name="classes")(keras.layers.GlobalAveragePooling2D()(x))
        return compiled(keras.Model(inputs, x), learning_rate=3e-2)

    def accuracy(model):
        (answers,) = predict(model, data.train.inputs)
        return float((answers.argmax(-1) == data.train.targets[0]).mean())

    model = made(net)
    conv, classes = model.get_layer("conv"), model.get_layer("classes")
    conv.kernel.assign(np.random.default_rng(0).normal(size=conv.kernel.shape))
    (features,) = predict(keras.Model(model.input, classes.input), data.train.inputs)
    wanted = 10 * np.eye(8)[data.train.targets[0]]
    classes.kernel.assign(np.linalg.lstsq(features, wanted, rcond=None)[0])
    scales = np.random.default_rng(0).permutation(2.0 ** np.linspace(-3.3, 3.3, 16))
    conv.set_weights([weight * scales for weight in conv.get_weights()])
    classes.kernel.assign(np.asarray(classes.kernel) / scales[:, None])
    int8 = dataclasses.replace(context_for(model, data), conversion=INT8)

    calibrated = set_ranges_in_model(model, QuantizeStep(kind="quantize", method="ptq"), int8).model
    trained = quantize_aware(model, step(epochs=5, learning_rate=1e-2), int8).model

    assert accuracy(model) > 0.97
    assert accuracy(calibrated) < 0.8
    assert accuracy(trained) > 0.93


def test_a_model_trained_in_a_fit_of_one_s_own_is_converted_with_its_ranges(tmp_path):
    model = compiled(edgepress.with_int8_ranges(made(small_cnn), DATA.train.inputs[0][:20]))
    model.fit(DATA.train.inputs[0], DATA.train.targets[0], verbose=0)
    model.save(tmp_path / "m.keras")

    file = edgepress.convert(tmp_path / "m.keras", format="int8", output=tmp_path / "m.tflite")

    assert not file.float_operators
    ends = fake_quants(model)["picture_range"]
    assert file.inputs[0].scale == pytest.approx(float(ends.maximum - ends.minimum) / 255, rel=1e-4)
