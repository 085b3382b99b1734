import keras
import numpy as np
import pytest

from edgepress import GradualPruning
from edgepress.compression.pruning.weights import prune_weights
from edgepress.compression.recipe import PruneStep
from edgepress.errors import CompressionError, InputError
from edgepress.training.fit import fine_tune
from edgepress.training.objective import objective_of
from support.compress_models import blobs, compiled, context_for, dense_net, made

DATA = blobs(shape=(6,))  # 96 samples: 3 batches of 32
(X,), (Y,) = DATA.train.inputs, DATA.train.targets


def zeros(model, name="hidden"):
    return float((np.asarray(model.get_layer(name).kernel) == 0).mean())


class Watch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.shares = []

    def on_train_batch_end(self, batch, logs=None):
        self.shares.append(round(zeros(self.model), 3))


def fitted(model, pruning, epochs):
    watch = Watch()
    model.fit(X, Y, batch_size=32, epochs=epochs, verbose=0, callbacks=[pruning, watch])
    return watch.shares


def test_in_anybody_s_fit_the_share_of_zeros_grows_to_what_was_asked_for_and_stays():
    model = compiled(made(dense_net))
    pruning = GradualPruning(0.75, begin_step=2, end_step=8, frequency=3)

    shares = fitted(model, pruning, epochs=3)

    assert shares[:4] == [0.0] * 4  # it begins with step 2, and the share is 0 there
    assert shares[4:7] == [pytest.approx(pruning.sparsity_at(5), abs=0.01)] * 3
    assert shares[7:] == [0.75, 0.75]
    assert zeros(model, "classes") == pytest.approx(0.75, abs=0.01)


def test_a_second_fit_goes_on_where_the_first_one_stopped():
    model = compiled(made(dense_net))
    pruning = GradualPruning(0.5, end_step=6, frequency=3)

    assert fitted(model, pruning, epochs=1)[-1] == pytest.approx(pruning.sparsity_at(3), abs=0.01)
    assert fitted(model, pruning, epochs=1)[-1] == 0.5


def test_weights_that_it_pruned_stay_zero_in_a_later_training():
    model = compiled(made(dense_net))
    fitted(model, GradualPruning(0.75, end_step=3, frequency=1), epochs=1)

    tuned = fine_tune(model, DATA.training, objective_of(model, DATA), epochs=1, learning_rate=0.01).model

    assert zeros(tuned) == zeros(model) == 0.75
    kernel = np.asarray(model.get_layer("hidden").kernel)
    assert (np.asarray(tuned.get_layer("hidden").kernel)[kernel != 0] != kernel[kernel != 0]).any()


def test_layers_named_by_a_pattern_keep_their_weights():
    model = compiled(made(dense_net))

    fitted(model, GradualPruning(0.75, end_step=2, frequency=1, keep=["class*"]), epochs=1)

    assert (zeros(model), zeros(model, "classes")) == (0.75, 0)


def test_a_pattern_that_names_no_layer_is_an_error_when_training_begins():
    with pytest.raises(CompressionError, match=r"'last'.*hidden, classes"):
        fitted(compiled(made(dense_net)), GradualPruning(0.75, end_step=2, keep=["last"]), epochs=1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sparsity": 1.0, "end_step": 5}, "between 0 and 1; got 1.0"),
        ({"sparsity": 0.5, "end_step": 5, "begin_step": 5}, "begin_step = 5, end_step = 5"),
        ({"sparsity": 0.5, "end_step": 5, "frequency": 0}, "frequency = 0"),
        ({"sparsity": 0.5, "end_step": 5, "scope": "gobal"}, "scope is 'local' or 'global'; got 'gobal'"),
        ({"sparsity": 0.5, "end_step": 5, "block": "1x8"}, "block is '1x4', '1x16' or None; got '1x8'"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(settings, said):
    with pytest.raises(InputError, match=said):
        GradualPruning(**settings)


def test_a_recipe_prunes_weights_while_it_trains_and_keeps_an_epoch_of_the_pruned_model():
    model = compiled(made(dense_net))
    settings = PruneStep(kind="prune", structure="weights", sparsity=0.75, schedule="gradual", end=0.5, epochs=4)

    outcome = prune_weights(model, settings, context_for(model, DATA))

    assert zeros(outcome.model) == 0.75
    assert outcome.changed[0].what == "144 of 192 weights set to zero"
    assert "fine-tuned for 4 epochs, weights of epoch" in outcome.notes[0]
    assert zeros(model) == 0


def test_a_gradual_pruning_whose_loss_becomes_nan_prunes_the_weights_from_before():
    model = compiled(made(dense_net))
    settings = PruneStep(
        kind="prune", structure="weights", sparsity=0.75, schedule="gradual", epochs=1, learning_rate=1e38
    )

    outcome = prune_weights(model, settings, context_for(model, DATA))

    kernel, before = (np.asarray(one.get_layer("hidden").kernel) for one in (outcome.model, model))
    assert (kernel == 0).mean() == 0.75
    assert (kernel[kernel != 0] == before[kernel != 0]).all()
    assert "the loss became NaN" in outcome.notes[0]


def test_a_recipe_prunes_to_the_end_where_an_optimizer_gathers_gradients_of_several_batches():
    model = made(dense_net)
    model.compile(keras.optimizers.Adam(3e-3, gradient_accumulation_steps=3), "sparse_categorical_crossentropy")
    settings = PruneStep(kind="prune", structure="weights", sparsity=0.75, schedule="gradual", end=0.5, epochs=4)

    outcome = prune_weights(model, settings, context_for(model, DATA))

    assert zeros(outcome.model) == 0.75
    assert "fine-tuned for 4 epochs, weights of epoch" in outcome.notes[0]
