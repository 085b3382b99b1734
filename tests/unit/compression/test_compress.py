import dataclasses
import json

import keras
import numpy as np
import pytest

from edgepress.compression import compress as module
from edgepress.compression.compress import compress
from edgepress.compression.recipe import DistillStep, FactorizeStep, PruneStep, Rank, Recipe, Scale
from edgepress.compression.steps import StepOutcome
from edgepress.errors import CompressionError
from edgepress.training.objective import objective_of
from support.compress_models import blobs, compiled, dense_net, largest_difference, made, residual_cnn

# Without epochs: what fine-tuning does is tested where it is, and tracing it takes seconds each time.
PRUNE = PruneStep(kind="prune", structure="filters", sparsity=0.5, epochs=0)
FACTORIZE = FactorizeStep(kind="factorize", rank=Rank(fixed=4), epochs=0)
DISTILL = DistillStep(kind="distill", student=Scale(width=0.5), epochs=1)


@pytest.fixture(scope="module")
def dataset():
    return blobs()


@pytest.fixture(scope="module")
def model():
    return compiled(made(residual_cnn))


def compressed(model, dataset, *steps, **settings):
    recipe = Recipe(name="test", step=steps)
    return compress(model, recipe, dataset.training, objective_of(model, dataset), **settings)


@pytest.fixture
def steps_run(monkeypatch):
    """Names of the steps that really ran."""
    ran = []
    for key, step in module.STEPS.items():

        def counted(*arguments, _step=step, _key=key):
            ran.append(_key[0])
            return _step(*arguments)

        monkeypatch.setitem(module.STEPS, key, counted)
    return ran


def test_steps_run_in_order_and_each_is_measured_before_and_after(model, dataset):
    report = compressed(model, dataset, PRUNE, FACTORIZE).report

    assert [entry.kind for entry in report.entries] == ["prune", "factorize"]
    first, second = report.entries
    assert model.count_params() == first.parameters_before > first.parameters_after == second.parameters_before
    assert first.macs_before > first.macs_after == second.macs_before > second.macs_after == report.macs_after
    assert first.metric_after == second.metric_before
    assert report.weight_bytes_before == 4 * first.parameters_before > report.weight_bytes_after
    assert report.peak_activation_bytes_before > report.peak_activation_bytes_after > 0
    assert 0 <= report.metric_after <= 1


def test_a_recipe_without_steps_gives_an_equal_model_of_its_own(model, dataset):
    result = compressed(model, dataset)

    assert result.model is not model
    assert largest_difference(model, result.model) == 0
    assert result.report.parameters_before == result.report.parameters_after


def test_the_model_that_came_in_is_not_changed(model, dataset):
    before = [weight.copy() for weight in model.get_weights()]

    compressed(model, dataset, PRUNE, FACTORIZE)

    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert model.compiled


def test_the_result_is_compiled_as_the_original_and_survives_a_file(model, dataset, tmp_path):
    result = compressed(model, dataset, PRUNE)

    result.model.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")

    assert objective_of(loaded, dataset).metric == "accuracy"
    assert largest_difference(loaded, result.model) == 0


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_model_compiled_with_what_no_file_can_hold_comes_back_uncompiled(dataset):
    model = made(residual_cnn)
    model.compile(loss=lambda wanted, output: keras.ops.mean(output, axis=-1), metrics=["accuracy"])

    assert not compressed(model, dataset).model.compiled


def test_the_same_seed_gives_the_same_model_and_another_seed_another():
    flat = blobs(shape=(6,))
    small = compiled(made(dense_net))
    first, second = (compressed(small, flat, DISTILL, seed=3) for _ in range(2))
    other = compressed(small, flat, DISTILL, seed=4)

    assert largest_difference(first.model, second.model) < 1e-6
    assert largest_difference(first.model, other.model) > 1e-3


def test_the_report_is_json_with_every_default_and_choice_filled_in(model, dataset):
    report = compressed(model, dataset, PRUNE).report

    settings = json.loads(json.dumps(report.as_dict()))["recipe"]["steps"][0]
    assert settings["schedule"] == "one-shot"
    assert settings["round_to"] == 8
    assert (settings["importance"], settings["scope"]) == ("batchnorm-scale", "local")
    assert settings["filters"] == {"stem": 4, "wide": 8, "project": 4, "head": 8}
    assert len(report.recipe_id) == 12


def test_the_report_says_the_learning_rate_that_a_step_trained_with_where_the_recipe_left_it_out():
    data = blobs(shape=(6,))
    model = compiled(made(dense_net), learning_rate=2e-3)
    untrained, trained = (PruneStep(kind="prune", structure="weights", sparsity=0.5, epochs=n) for n in (0, 1))

    report = compressed(model, data, untrained, trained).report

    rates = [entry.settings.get("learning_rate") for entry in report.entries]
    assert rates == [None, pytest.approx(2e-3)]


def test_a_second_call_takes_over_what_the_first_one_did(model, dataset, tmp_path, steps_run):
    first = compressed(model, dataset, PRUNE, FACTORIZE, checkpoints=tmp_path)
    second = compressed(model, dataset, PRUNE, FACTORIZE, checkpoints=tmp_path)

    assert steps_run == ["prune", "factorize"]
    assert second.report == first.report
    assert largest_difference(first.model, second.model) == 0
    kinds = [(path.name[:5], path.suffix) for path in sorted(tmp_path.iterdir())]
    assert kinds == [("1-pru", ".json"), ("1-pru", ".keras"), ("2-fac", ".json"), ("2-fac", ".keras")]


def test_recipes_that_begin_alike_share_their_first_steps_in_one_folder(model, dataset, tmp_path, steps_run):
    compressed(model, dataset, PRUNE, checkpoints=tmp_path)
    compressed(model, dataset, PRUNE, FACTORIZE, checkpoints=tmp_path)
    compressed(model, dataset, PRUNE, checkpoints=tmp_path)

    assert steps_run == ["prune", "factorize"]


def test_only_steps_from_the_first_changed_one_on_run_again(model, dataset, tmp_path, steps_run):
    compressed(model, dataset, PRUNE, FACTORIZE, checkpoints=tmp_path)
    changed = FACTORIZE.model_copy(update={"rank": Rank(fixed=2)})

    result = compressed(model, dataset, PRUNE, changed, checkpoints=tmp_path)

    assert steps_run == ["prune", "factorize", "factorize"]
    assert result.report.entries[1].settings["ranks"]["features"] == [2]


def test_a_run_that_was_interrupted_goes_on_at_the_step_it_was_in(model, dataset, tmp_path, steps_run, monkeypatch):
    whole = module.STEPS["factorize", "svd"]

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setitem(module.STEPS, ("factorize", "svd"), interrupted)
    with pytest.raises(KeyboardInterrupt):
        compressed(model, dataset, PRUNE, FACTORIZE, checkpoints=tmp_path)
    monkeypatch.setitem(module.STEPS, ("factorize", "svd"), whole)
    report = compressed(model, dataset, PRUNE, FACTORIZE, checkpoints=tmp_path).report

    assert steps_run == ["prune", "factorize"]
    assert [entry.kind for entry in report.entries] == ["prune", "factorize"]


def test_the_report_has_the_scores_of_each_class_by_its_name(model):
    named = dataclasses.replace(blobs(), input_spec=dataclasses.replace(blobs().input_spec, labels=("a", "b", "c")))

    classes = compressed(model, named).report.classes

    assert [one.label for one in classes] == ["a", "b", "c"]
    assert sum(one.samples for one in classes) == len(named.val)


@pytest.mark.parametrize("change", ["seed", "data", "model", "objective", "optimizer", "version"])
def test_nothing_is_taken_over_where_the_origin_differs(change, model, dataset, tmp_path, steps_run, monkeypatch):
    compressed(model, dataset, PRUNE, checkpoints=tmp_path)

    other_model = compiled(made(residual_cnn, seed=1)) if change == "model" else model
    other_data = blobs(seed=1) if change == "data" else dataset
    objective = objective_of(model, dataset)
    if change == "version":
        monkeypatch.setattr("tensorflow.__version__", "99")
    if change == "objective":
        objective = dataclasses.replace(objective, learning_rate=1e-4)
    elif change == "optimizer":  # of the same class
        optimizer = keras.optimizers.serialize(keras.optimizers.Adam(objective.learning_rate, beta_1=0.5))
        objective = dataclasses.replace(objective, optimizer=optimizer)
    compress(
        other_model,
        Recipe(name="test", step=(PRUNE,)),
        other_data.training,
        objective,
        seed=1 if change == "seed" else 0,
        checkpoints=tmp_path,
    )

    assert steps_run == ["prune", "prune"]


@pytest.mark.parametrize("damage", ["model", "record", "missing"])
def test_a_damaged_checkpoint_is_made_anew(damage, model, dataset, tmp_path, steps_run):
    compressed(model, dataset, PRUNE, checkpoints=tmp_path)
    if damage == "missing":
        next(tmp_path.glob("1-prune-*.keras")).unlink()
    else:
        path = next(tmp_path.glob("1-prune-*.keras" if damage == "model" else "1-prune-*.json"))
        path.write_bytes(path.read_bytes()[:100])

    compressed(model, dataset, PRUNE, checkpoints=tmp_path)

    assert steps_run == ["prune", "prune"]


def test_weights_pruned_by_one_step_stay_zero_in_the_steps_after_it():
    sparse = PruneStep(kind="prune", structure="weights", sparsity=0.8, epochs=0)
    teach = DistillStep(kind="distill", epochs=1)

    kernel = compressed(compiled(made(dense_net)), blobs(shape=(6,)), sparse, teach).model.get_layer("hidden").kernel

    assert (np.asarray(kernel) == 0).mean() == pytest.approx(0.8, abs=0.01)


def test_the_teacher_of_a_distill_step_helps_the_steps_before_it_that_train_the_same_model(monkeypatch):
    small, data = compiled(made(dense_net)), blobs(shape=(6,))
    helped = []

    def step(model, settings, context):
        helped.append(context.guidance is not None)
        return StepOutcome(model, context.conversion)

    for key in (("prune", "neurons"), ("distill", "")):
        monkeypatch.setitem(module.STEPS, key, step)
    smaller = PruneStep(kind="prune", structure="neurons", sparsity=0.5)
    teach = DistillStep(kind="distill")
    student = DistillStep(kind="distill", student=Scale(width=0.5))

    compressed(small, data, smaller, smaller, teach, smaller, student, smaller)

    assert helped == [True, True, False, False, False, False]


def test_fine_tuning_before_a_distill_step_is_done_with_its_teacher():
    small, data = compiled(made(dense_net)), blobs(shape=(6,))
    sparse = PruneStep(kind="prune", structure="weights", sparsity=0.5, epochs=1)

    report = compressed(small, data, sparse, DistillStep(kind="distill", epochs=1)).report

    assert "with a teacher" in report.entries[0].notes[0]


def test_a_step_that_a_teacher_helped_is_not_taken_over_where_none_did(tmp_path, steps_run):
    small, data = compiled(made(dense_net)), blobs(shape=(6,))
    sparse = PruneStep(kind="prune", structure="weights", sparsity=0.5, epochs=0)

    compressed(small, data, sparse, DistillStep(kind="distill", epochs=1), checkpoints=tmp_path)
    compressed(small, data, sparse, checkpoints=tmp_path)

    assert steps_run == ["prune", "distill", "prune"]


def test_every_built_word_of_the_recipes_has_a_step():
    assert set(module.STEPS) == {
        ("prune", "weights"),
        ("prune", "filters"),
        ("prune", "neurons"),
        ("prune", "layers"),
        ("factorize", "svd"),
        ("factorize", "spatial-svd"),
        ("factorize", "tucker2"),
        ("factorize", "cp"),
        ("quantize", "ptq"),
        ("quantize", "qat"),
        ("quantize", "ladder"),
        ("distill", ""),
    }


def test_a_model_that_answers_nan_is_refused_before_any_step(dataset):
    model = compiled(made(residual_cnn))
    model.get_layer("classes").kernel.assign(np.full(model.get_layer("classes").kernel.shape, np.nan))

    with pytest.raises(CompressionError, match=r"as it came in answers NaN.*accuracy"):
        compressed(model, dataset, PRUNE)


def test_layers_that_are_frozen_are_named_before_steps_that_cannot_make_up_for_what_these_lose(dataset):
    model = compiled(made(residual_cnn))
    model.get_layer("wide").trainable = False

    def said(*steps):
        return [note for note in compressed(model, dataset, *steps).report.notes if "frozen" in note]

    (note,) = said(PRUNE)
    assert note.startswith("1 of 9 layers with weights are frozen (trainable = False), the first is wide")
    assert said() == said(DISTILL) == []


def test_a_pattern_that_means_no_layer_is_found_before_the_training_of_earlier_steps(model, dataset, steps_run):
    misspelt = FACTORIZE.model_copy(update={"keep": ("stemm",)})

    with pytest.raises(CompressionError, match="no layer is named 'stemm'"):
        compressed(model, dataset, PRUNE, misspelt)

    assert steps_run == []


def test_a_pattern_may_mean_a_layer_that_an_earlier_step_left_out(model, dataset):
    layers_gone = PruneStep(kind="prune", structure="layers", sparsity=0.9, epochs=0)
    keep = PRUNE.model_copy(update={"keep": ("wide", "head")})

    report = compressed(model, dataset, layers_gone, keep).report

    assert "wide" in report.entries[0].changed[0].what
    assert report.entries[1].notes[-1] == "keep: 'wide' means layers that an earlier step left out"
    assert report.entries[1].settings["keep"] == ["wide", "head"]
    assert "head" not in report.entries[1].settings["filters"]


def test_a_pattern_may_mean_a_layer_that_an_earlier_step_makes(model, dataset, steps_run):
    made_by_it = PRUNE.model_copy(update={"keep": ("*_low_rank",)})

    compressed(model, dataset, FACTORIZE, made_by_it)

    assert steps_run == ["factorize", "prune"]
