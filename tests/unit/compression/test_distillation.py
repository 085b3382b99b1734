import keras
import numpy as np
import pytest

from edgepress.compression import compress as compress_module
from edgepress.compression.compress import compress
from edgepress.compression.distillation import teachers
from edgepress.compression.distillation.mutual import mutual_lessons
from edgepress.compression.distillation.pairs import Pair, embedding_pairs, pairs_by_size
from edgepress.compression.distillation.signals import (
    RELATIONS,
    attention,
    attention_map,
    hint,
    logits_of,
    mean_answer,
    response,
)
from edgepress.compression.distillation.step import check_files, distill, guidance_of
from edgepress.compression.distillation.students import scaled
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rebuild import copy_of
from edgepress.compression.recipe import DistillStep, PruneStep, Recipe, Scale
from edgepress.compression.steps import StepContext
from edgepress.data import Dataset
from edgepress.errors import CompressionError
from edgepress.models import load_model
from edgepress.training.evaluate import predict
from edgepress.training.fit import fine_tune
from edgepress.training.metrics import metric_named
from edgepress.training.objective import objective_of
from edgepress_converters.options import ConversionOptions
from support.compress_models import blobs, compiled, context_for, dense_net, largest_difference, made, residual_cnn

layers = keras.layers
HALF = Scale(width=0.5)
FLAT = blobs(count=64, shape=(6,))


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def stages(blocks: int = 3, width: int = 8) -> keras.Model:
    """Two stages of residual blocks, one plain layer that keeps its shape, and a Dense layer."""
    inputs = keras.Input((8, 8, 2), name="picture")
    x = inputs
    for stage in (1, 2):
        x = layers.Conv2D(width, 3, 2, padding="same", activation="relu", name=f"s{stage}_down")(x)
        for number in range(blocks):
            branch = layers.Conv2D(width, 3, padding="same", name=f"s{stage}_b{number}_conv")(x)
            x = layers.Add(name=f"s{stage}_b{number}_add")([x, branch])
            x = layers.ReLU(name=f"s{stage}_b{number}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="classes")(x), name="stages")


def test_a_student_of_half_the_width_keeps_inputs_outputs_and_residual_sums():
    student, changed, _ = scaled(made(residual_cnn), HALF, seed=0)

    widths = {name: layer.filters for name, layer in read(student).layers().items() if hasattr(layer, "filters")}
    assert widths == {"stem": 4, "wide": 8, "project": 4, "head": 8}
    assert student.output_shape == (None, 3)
    assert ("features", "24 -> 16 units") in [(change.layer, change.what) for change in changed]


def test_a_student_of_half_the_depth_has_half_of_each_stage_the_layer_that_opens_it_included():
    student, changed, _ = scaled(made(stages), Scale(depth=0.5), seed=0)

    left_out = [change.layer for change in changed]
    assert left_out == ["s1_b1_add", "s1_b2_add", "s2_b1_add", "s2_b2_add"]
    assert "s2_b1_relu" not in read(student).layers()
    assert student.output_shape == (None, 3)


def test_plain_layers_that_keep_their_shape_go_with_their_normalization_and_activation():
    inputs = keras.Input((6,))
    x = inputs
    for number in range(3):
        x = layers.Dense(16, name=f"dense{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(layers.BatchNormalization(name=f"norm{number}")(x))
    model = keras.Model(inputs, layers.Dense(3, name="classes")(x))

    student, changed, _ = scaled(model, Scale(width=0.5, depth=0.5), seed=0)

    assert [(change.layer, change.what) for change in changed] == [
        ("dense2", "left out"),
        ("dense0", "16 -> 8 units"),
        ("dense1", "16 -> 8 units"),
    ]
    assert not {"dense2", "norm2", "relu2"} & read(student).layers().keys()


def test_a_model_whose_layers_all_change_the_shape_cannot_be_made_shallower():
    with pytest.raises(CompressionError, match=r"depth of 0\.5: 0 of its.*student = "):
        scaled(made(dense_net), Scale(depth=0.5), seed=0)


def test_the_same_seed_gives_the_same_student():
    first, second = (scaled(made(residual_cnn), HALF, seed=7)[0] for _ in range(2))

    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


def frozen_with_statistics() -> keras.Model:
    """Trained and then frozen; it knows the mean and variance of its inputs, and of what a layer says."""
    inputs = keras.Input((6,))
    first = layers.Dense(16, name="first")
    of_inputs, of_first = layers.Normalization(name="of_inputs"), layers.Normalization(name="of_first")
    x = np.random.default_rng(0).normal(3, 2, (64, 6)).astype(np.float32)
    of_inputs.adapt(x)
    of_first.adapt(np.asarray(first(x)))
    x = layers.Dense(16, name="second")(of_first(first(of_inputs(inputs))))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="classes")(x))
    model.trainable = False
    return model


@pytest.mark.parametrize(("scale", "kept"), [(HALF, 8), (Scale(depth=0.5), 16)])
def test_a_student_of_a_frozen_model_learns_and_has_the_statistics_of_its_normalizations(scale, kept):
    model = made(frozen_with_statistics)

    student, _, _ = scaled(model, scale, seed=0)

    assert all(layer.trainable_weights for layer in student.layers if isinstance(layer, layers.Dense))
    for name, count in (("of_inputs", 6), ("of_first", kept)):
        whole, smaller = (one.get_layer(name) for one in (model, student))
        np.testing.assert_array_equal(smaller.get_weights()[0], whole.get_weights()[0][:count])
        np.testing.assert_array_equal(np.asarray(smaller.variance)[0], np.asarray(whole.variance)[0, :count])


def test_a_peer_has_the_statistics_of_the_student_s_normalizations():
    model = compiled(made(frozen_with_statistics))
    student, _, _ = scaled(model, HALF, seed=0)
    context = context_for(model, FLAT)

    lessons = mutual_lessons(None, DistillStep(kind="distill", mutual=True, student=HALF), context, copy_of(student))

    peer = lessons.peers[0][0]._keras_history.operation
    np.testing.assert_array_equal(peer.get_layer("of_inputs").mean, model.get_layer("of_inputs").mean)


def test_a_graph_in_which_all_channels_are_tied_to_the_input_asks_for_a_student():
    inputs = keras.Input((4, 4, 16))
    x = layers.Add(name="add")([inputs, layers.Conv2D(16, 1, name="conv")(inputs)])
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))

    with pytest.raises(CompressionError, match=r"width of 0\.5: .*conv: .*student = "):
        scaled(model, HALF, seed=0)


def test_width_follows_gates_and_layers_of_groups_and_says_what_it_leaves():
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(16, 1, name="conv")(inputs)
    gate = layers.Dense(16, activation="sigmoid", name="gate")(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 16))(gate)])
    x = layers.Conv2D(16, 3, groups=16, name="depthwise")(x)
    model = keras.Model(inputs, layers.Dense(2, name="classes")(layers.Flatten()(x)))

    student, changed, skipped = scaled(model, HALF, seed=0)

    assert {change.layer: change.what for change in changed} == {"conv": "16 -> 8 filters", "gate": "16 -> 8 units"}
    assert student.get_layer("depthwise").filters == 8
    assert "classes" in [skip.layer for skip in skipped]
    assert student.output_shape == (None, 2)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_response_is_the_divergence_of_softened_answers_times_the_square_of_temperature(temperature):
    generator = np.random.default_rng(0)
    teacher, student = generator.normal(size=(2, 6, 5)).astype(np.float32)
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=-1)

    on_logits = response("logits", temperature)(teacher, student)
    of_teacher = logits_of(softmax(teacher), "probabilities")
    on_probabilities = response("probabilities", temperature)(of_teacher, softmax(student))

    np.testing.assert_allclose(on_logits, expected, rtol=1e-3)
    np.testing.assert_allclose(on_probabilities, expected, rtol=1e-3)


def test_several_teachers_answer_with_the_mean_of_their_softened_probabilities():
    first, second = np.random.default_rng(0).normal(size=(2, 6, 5)).astype(np.float32)

    answer = np.asarray(mean_answer([first, second], "logits", 4.0))

    np.testing.assert_allclose(softmax(answer / 4), (softmax(first / 4) + softmax(second / 4)) / 2, rtol=1e-4)


@pytest.mark.parametrize("kind", ["probabilities", "sigmoid"])
def test_a_teacher_that_is_quite_sure_gives_finite_losses(kind):
    sure = np.array([[1.0, 0.0]], np.float32)

    loss = response(kind, 4.0)(logits_of(sure, kind), sure[:, ::-1])

    assert np.isfinite(np.asarray(loss)).all()


@pytest.mark.parametrize(("kind", "temperature"), [("sigmoid", 2.0), ("binary logits", 2.0), ("values", 1.0)])
def test_equal_answers_have_the_smallest_loss(kind, temperature):
    answer = np.array([[0.2], [0.7]], np.float32)
    signal = logits_of(answer, kind)
    loss = response(kind, temperature)

    assert (np.asarray(loss(signal, answer)) < np.asarray(loss(signal, answer + 0.1))).all()


def pairwise(x):
    return np.linalg.norm(x[:, None] - x[None], axis=-1)


def test_relations_are_those_of_their_papers():
    wanted, given = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)

    def huber(x):
        return np.where(np.abs(x) <= 1, x * x / 2, np.abs(x) - 0.5)

    def mean_distances(x):
        distances = pairwise(x)
        return distances / distances[~np.eye(5, dtype=bool)].mean()

    def cosines(x):
        towards = x[None] - x[:, None]
        towards = towards / np.maximum(np.linalg.norm(towards, axis=-1, keepdims=True), 1e-12)
        return np.einsum("jid,jkd->jik", towards, towards)

    def alike(x):
        rows = x @ x.T
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    for word, expected in {
        "distance": huber(mean_distances(wanted) - mean_distances(given)),
        "angle": huber(cosines(wanted) - cosines(given)),
        "similarity": ((alike(wanted) - alike(given)) ** 2).sum(axis=1),
    }.items():
        np.testing.assert_allclose(RELATIONS[word](wanted, given), expected, atol=1e-4, err_msg=word)


@pytest.mark.parametrize("word", sorted(RELATIONS))
def test_relations_do_not_see_a_change_of_scale_and_have_finite_gradients_where_samples_coincide(word):
    import tensorflow as tf

    features = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    features[1] = features[0]
    given = tf.Variable(3 * features)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(RELATIONS[word](features, given))

    assert float(loss) < 1e-3
    assert np.isfinite(tape.gradient(loss, given).numpy()).all()


def test_attention_looks_at_places_and_a_hint_at_the_features_themselves():
    features = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
    turned = -features[..., ::-1]

    assert np.asarray(attention(attention_map(features), turned)).max() < 1e-5
    assert np.asarray(attention(attention_map(features), features[:, ::-1])).min() > 0.05
    assert float(hint(features, features)) == 0
    assert float(hint(features, np.zeros_like(features))) == pytest.approx(1, abs=0.1)


def test_layers_are_compared_where_their_maps_have_one_size_the_last_of_each():
    student, _, _ = scaled(made(stages), Scale(width=0.5, depth=0.5), seed=0)

    assert pairs_by_size(read(student), read(made(stages))) == (
        Pair("s1_b0_relu", "s1_b2_relu"),
        Pair("s2_b0_relu", "s2_b2_relu"),
    )
    assert embedding_pairs(read(student), read(made(stages))) == (Pair("features", "features"),)


def test_without_feature_maps_the_layers_before_the_outputs_are_compared():
    graph = read(made(dense_net))

    assert pairs_by_size(graph, graph) == (Pair("hidden", "hidden"),)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"wide": "nowhere"}, "teacher's layer 'nowhere' does not exist; there are: stem, wide"),
        ({"head": "pool"}, r"'head' gives \(8, 8, 16\), the teacher's 'pool' \(4, 4, 16\)"),
    ],
)
def test_layers_that_cannot_be_compared_are_named(names, words):
    model, dataset = compiled(made(residual_cnn)), blobs()
    settings = DistillStep(kind="distill", signal="hint", layers=names, epochs=1)

    with pytest.raises(CompressionError, match=words):
        distill(model, settings, context_for(model, dataset))


def test_a_student_learns_all_signals_at_once_and_says_from_which_layers():
    teacher = compiled(made(stages, blocks=1))
    signal = dict.fromkeys(["response", "hint", "attention", "distance", "angle", "similarity"], 1.0)
    settings = DistillStep(kind="distill", signal=signal, student=HALF, epochs=1)

    outcome = distill(teacher, settings, context_for(teacher, blobs(count=64)))

    assert "hint compares s1_b0_relu with s1_b0_relu, s2_b0_relu with s2_b0_relu" in outcome.notes[1]
    assert "similarity compares features with features" in outcome.notes[1]
    assert [layer.name for layer in outcome.model.layers] == [layer.name for layer in teacher.layers]


@pytest.mark.parametrize("word", ["hint", "similarity"])
def test_what_a_signal_compares_becomes_alike_by_it_alone(word):
    teacher, student = compiled(made(dense_net)), made(dense_net, seed=1)
    settings = DistillStep(kind="distill", signal=word, alpha=1.0)
    context = context_for(teacher, FLAT)
    guidance = guidance_of(settings, context, student)

    tuned = fine_tune(student, context.data, context.objective, epochs=6, learning_rate=0.02, guidance=guidance)

    assert tuned.history[-1].train_loss < 0.5 * tuned.history[0].train_loss


def test_several_teachers_teach_the_mean_of_their_answers(tmp_path):
    files = [tmp_path / f"{seed}.keras" for seed in (1, 2)]
    for seed, file in enumerate(files, start=1):
        made(dense_net, seed=seed).save(file)
    model = compiled(made(dense_net))
    settings = DistillStep(kind="distill", teacher=tuple(map(str, files)), temperature=1.0)
    context = context_for(model, FLAT)

    lessons = guidance_of(settings, context, model).lessons_for(copy_of(model))

    answers = [predict(load_model(file), FLAT.train.inputs)[0] for file in files]
    np.testing.assert_allclose(softmax(lessons.arrays[0]), sum(answers) / 2, atol=1e-5)


def test_answers_are_kept_on_disk_and_asked_for_once(tmp_path, monkeypatch):
    teacher = compiled(made(dense_net))
    student = made(dense_net, seed=1)
    context = context_for(teacher, FLAT, answers=tmp_path / "answers")
    asked = []
    ask = teachers.predict
    monkeypatch.setattr(teachers, "predict", lambda *args: asked.append(1) or ask(*args))

    def answers():
        return guidance_of(DistillStep(kind="distill"), context, student).lessons_for(copy_of(student)).arrays

    first, second = answers(), answers()
    (file,) = (tmp_path / "answers").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    third = answers()

    assert len(asked) == 2
    for again in (second, third):
        np.testing.assert_array_equal(again[0], first[0])


def test_a_teacher_that_is_asked_batch_by_batch_teaches_the_same(monkeypatch):
    teacher = compiled(made(dense_net))
    settings = DistillStep(kind="distill", signal={"response": 1, "hint": 1}, student=HALF, epochs=1)
    context = context_for(teacher, FLAT)

    kept = distill(teacher, settings, context).model
    monkeypatch.setattr(teachers, "_LARGEST_KEPT_BYTES", 0)
    live = distill(teacher, settings, context).model

    assert largest_difference(kept, live) < 1e-5


@pytest.mark.parametrize("student", [HALF, None])
def test_students_that_teach_each_other_both_learn(student):
    model = compiled(made(dense_net))
    settings = DistillStep(kind="distill", mutual=True, student=student, epochs=6, learning_rate=0.03)
    before = [weight.copy() for weight in model.get_weights()]

    outcome = distill(model, settings, context_for(model, FLAT))

    outputs = predict(outcome.model, FLAT.val.inputs)
    assert metric_named("accuracy").compute(outputs, FLAT.val.targets) > 0.8
    assert [layer.name for layer in outcome.model.layers][1:] == ["hidden", "classes"]
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_a_student_learns_from_the_teacher_which_stays_as_it_was():
    dataset = blobs(count=256, shape=(6,))
    teacher = compiled(made(dense_net), learning_rate=0.02)
    teacher.fit(dataset.train.inputs[0], dataset.train.targets[0], epochs=3, verbose=0)
    before = [weight.copy() for weight in teacher.get_weights()]
    settings = DistillStep(kind="distill", student=HALF, epochs=4, learning_rate=0.02)

    outcome = distill(teacher, settings, context_for(teacher, dataset))

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

    outcome = distill(model, settings, context_for(model, dataset))

    assert set(outcome.choices["teacher"][0]) == {"sha256"}
    assert str(tmp_path) not in str(outcome.choices)


def test_a_teacher_with_other_outputs_is_refused(tmp_path):
    dataset = blobs()
    made(residual_cnn, classes=5).save(tmp_path / "other.keras")
    model = compiled(made(residual_cnn))
    settings = DistillStep(kind="distill", teacher=str(tmp_path / "other.keras"), epochs=1)

    with pytest.raises(CompressionError, match=r"outputs of shape \[\(None, 5\)\], the student \[\(None, 3\)\]"):
        distill(model, settings, context_for(model, dataset))


def test_a_pruned_model_recovers_by_what_its_layers_said_before():
    model = compiled(made(dense_net))
    prune = PruneStep(kind="prune", structure="neurons", sparsity=0.5, epochs=1, reconstruct=False)
    teach = DistillStep(kind="distill", signal={"response": 1, "hint": 0.5}, epochs=1)

    report = compress(model, Recipe(name="r", step=(prune, teach)), FLAT.training, objective_of(model, FLAT)).report

    pruned, taught = report.entries
    assert "with a teacher" in " ".join(pruned.notes)
    assert "hint compares hidden with hidden" in taught.notes[1]
    assert pruned.parameters_after < pruned.parameters_before


def test_models_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path, monkeypatch):
    made(residual_cnn).save(tmp_path / "other.keras")
    model = compiled(made(dense_net))
    prune = PruneStep(kind="prune", structure="weights", sparsity=0.5)
    steps = (prune, DistillStep(kind="distill", teacher=(str(tmp_path / "other.keras"),)))
    monkeypatch.setattr(compress_module, "STEPS", {})

    with pytest.raises(CompressionError, match="teacher and student do not fit"):
        compress(model, Recipe(name="r", step=steps), FLAT.training, objective_of(model, FLAT))


def test_outputs_that_are_plain_values_may_end_in_different_layers(tmp_path):
    inputs = keras.Input((6,))
    keras.Model(inputs, layers.Dense(1, activation="relu")(inputs)).save(tmp_path / "other.keras")

    check_files(
        DistillStep(kind="distill", teacher=(str(tmp_path / "other.keras"),)),
        keras.Model(inputs, layers.ReLU()(layers.Dense(1)(inputs))),
    )


@pytest.mark.parametrize("named", ["teacher", "student"])
def test_a_model_that_ends_in_logits_is_refused_beside_one_that_ends_in_probabilities(named, tmp_path):
    inputs = keras.Input((6,))
    file = tmp_path / "other.keras"
    keras.Model(inputs, layers.Dense(3)(inputs)).save(file)
    word = {"teacher": (str(file),)} if named == "teacher" else {"student": str(file)}

    with pytest.raises(CompressionError, match=r"other\.keras ends in linear, the model in softmax"):
        check_files(DistillStep(kind="distill", **word), made(dense_net))


@pytest.mark.parametrize("named", ["teacher", "student"])
def test_a_model_of_other_outputs_is_refused_by_its_name(named, tmp_path):
    inputs = keras.Input((6,))
    file = tmp_path / "other.keras"
    keras.Model(inputs, layers.Dense(5, activation="softmax")(inputs)).save(file)
    word = {"teacher": (str(file),)} if named == "teacher" else {"student": str(file)}

    said = r"other\.keras has outputs of shape \[\(None, 5\)\], the model \[\(None, 3\)\]"
    with pytest.raises(CompressionError, match=said):
        check_files(DistillStep(kind="distill", **word), made(dense_net))


def test_models_of_several_inputs_and_outputs_of_several_kinds_are_taught():
    inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((6,), name="b")}
    x = layers.Dense(8, activation="relu", name="hidden")(layers.Concatenate(name="both")(list(inputs.values())))
    outputs = {"kind": layers.Dense(3, name="kind")(x), "size": layers.Dense(1, name="size")(x)}
    model = keras.Model(inputs, outputs)
    kind = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", {"kind": kind, "size": "mse"}, loss_weights={"kind": 1.0, "size": 0.5})
    x, y = FLAT.train.inputs[0], FLAT.train.targets[0]
    dataset = Dataset.from_arrays([x, x], [y, x[:, :1]], [x, x], [y, x[:, :1]])
    objective = objective_of(model, dataset, "accuracy@0")
    settings = DistillStep(kind="distill", signal={"response": 1, "similarity": 1}, student=HALF, epochs=1)
    context = StepContext(dataset.training, objective, model, ConversionOptions())

    outcome = distill(model, settings, context)

    assert outcome.notes[1] == "similarity compares hidden with hidden"
    assert set(outcome.model.output) == {"kind", "size"}
