import importlib
import json
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

from edgepress.errors import MissingPackageError, ModelError
from edgepress.models import import_keras, load_model, model_sha256

layers = keras.layers


def small(**settings):
    return keras.Sequential([keras.Input((4,)), layers.Dense(3)], **settings)


def saved(folder, model, name="model.keras"):
    model.save(folder / name)
    return folder / name


def refusal(path, **settings) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(path, **settings)
    return str(caught.value)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5 file via")
def test_a_model_is_loaded_from_both_formats(tmp_path, name):
    model = small()
    x = np.ones((2, 4), np.float32)

    loaded = load_model(saved(tmp_path, model, name))

    np.testing.assert_allclose(loaded(x), model(x))


def test_a_model_that_was_compiled_but_never_trained_is_loaded(tmp_path):
    model = small()
    model.compile("adam", "mse")

    assert load_model(saved(tmp_path, model)).compiled


def test_a_missing_file_names_the_models_beside_it(tmp_path):
    saved(tmp_path, small(), "other.keras")

    assert "there are: other.keras" in refusal(tmp_path / "model.keras")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "text.keras").write_text("not a model at all")
    (tmp_path / "model.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(20))
    with zipfile.ZipFile(tmp_path / "zip.keras", "w") as archive:
        archive.writestr("readme.txt", "hello")
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").touch()
    (tmp_path / "empty.keras").touch()

    assert "not a Keras file" in refusal(tmp_path / "text.keras")
    assert "not a Keras file" in refusal(tmp_path / "empty.keras")
    assert "TFLite model already" in refusal(tmp_path / "model.tflite")
    assert "not of a Keras model (config.json" in refusal(tmp_path / "zip.keras")
    assert "TensorFlow SavedModel" in refusal(tmp_path / "saved_model")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
@pytest.mark.filterwarnings("ignore:.*HDF5 file via")
def test_a_truncated_file_is_refused(tmp_path, name, share):
    path = saved(tmp_path, small(), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    assert "truncated" in refusal(path)


def test_a_damaged_file_is_refused(tmp_path):
    path = saved(tmp_path, small())
    content = bytearray(path.read_bytes())
    content[content.index(b"model.weights.h5") + 600] ^= 0xFF
    path.write_bytes(content)

    assert "damaged" in refusal(path)


def test_weights_alone_are_no_model(tmp_path):
    small().save_weights(tmp_path / "model.weights.h5")

    assert "weights only" in refusal(tmp_path / "model.weights.h5")


def test_a_file_of_keras_2_that_keras_3_cannot_read_says_what_to_do(tmp_path):
    config = {"class_name": "Sequential", "config": {"name": "old", "layers": [{"class_name": "Dense", "config": {}}]}}
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["keras_version"] = "2.9.0"
        file.attrs["model_config"] = json.dumps(config)
        file.create_group("model_weights")

    message = refusal(tmp_path / "old.h5")

    assert "saved by Keras 2.9.0" in message
    assert "save_weights" in message


class Subclassed(keras.Model):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


def test_a_subclassed_model_is_refused_with_the_remedy(tmp_path):
    model = Subclassed()
    model(np.ones((1, 4)))
    path = saved(tmp_path, model)

    assert "subclassed model" in refusal(path)
    assert "functional API" in refusal(path)


@pytest.fixture
def custom(tmp_path, monkeypatch):
    """A model file with a layer whose module has to be named, and that module."""
    code = (
        "import keras\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Doubled(keras.layers.Layer):\n"
        "    def call(self, x): return 2 * x\n"
    )
    (tmp_path / "my_layers.py").write_text(code)

    def forget():
        sys.modules.pop("my_layers", None)
        for name in ("mine>Doubled", "Doubled"):
            keras.saving.get_custom_objects().pop(name, None)

    with monkeypatch.context() as inside:
        inside.syspath_prepend(tmp_path)
        doubled = importlib.import_module("my_layers").Doubled
        saved(tmp_path, keras.Sequential([keras.Input((4,)), doubled()]), "custom.keras")
    forget()
    yield tmp_path / "custom.keras"
    forget()


def test_a_custom_layer_is_named_with_the_flag_that_brings_it(custom, monkeypatch):
    monkeypatch.chdir(custom.parent / "..")
    message = refusal(custom)
    assert "'Doubled'" in message
    assert "--import MODULE" in message

    monkeypatch.chdir(custom.parent)
    np.testing.assert_array_equal(load_model(custom, imports=["my_layers"])(np.ones((1, 4))), 2 * np.ones((1, 4)))


UNDECORATED = """
import keras
class Tripled(keras.layers.Layer):
    def call(self, x): return 3 * x
def own_loss(wanted, output): return keras.ops.mean(keras.ops.abs(wanted - output), axis=-1)
"""


@pytest.fixture
def undecorated(tmp_path, monkeypatch):
    """A model as a training script saves it: its layer and loss are of ``__main__``, and are not decorated."""
    (tmp_path / "my_script.py").write_text(UNDECORATED)
    scope = {"__name__": "__main__"}
    exec(UNDECORATED, scope)  # noqa: S102 - text of this test
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), scope["Tripled"]()])
    model.compile("adam", scope["own_loss"])
    monkeypatch.chdir(tmp_path)
    yield saved(tmp_path, model, "script.keras")
    sys.modules.pop("my_script", None)
    for name in ("Tripled", "own_loss"):
        keras.saving.get_custom_objects().pop(name, None)


def test_custom_layers_and_losses_need_no_decorator(undecorated, tmp_path):
    assert "--import MODULE" in refusal(undecorated)

    model = load_model(undecorated, imports=["my_script"])
    again = load_model(saved(tmp_path, model, "again.keras"))  # as a checkpoint is read: without naming the module

    assert model.loss.__name__ == "own_loss"
    np.testing.assert_allclose(again(np.ones((1, 4))), model(np.ones((1, 4))))


def test_a_file_whose_compressed_content_is_damaged_is_refused(tmp_path):
    original = saved(tmp_path, small())
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(tmp_path / "b.keras", "w", zipfile.ZIP_DEFLATED) as copy:
        for name in source.namelist():
            copy.writestr(name, source.read(name))
    content = bytearray((tmp_path / "b.keras").read_bytes())
    start = content.index(b"model.weights.h5") + len("model.weights.h5")
    content[start : start + 40] = b"\xff" * 40
    (tmp_path / "b.keras").write_bytes(content)

    assert "damaged" in refusal(tmp_path / "b.keras")


def test_an_import_that_does_not_exist_is_named(tmp_path):
    assert "no module 'my_missing'" in refusal(saved(tmp_path, small()), imports=["my_missing"])


def test_a_lambda_layer_is_refused_since_loading_it_would_run_code(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x + 1)])

    assert "Lambda layer" in refusal(saved(tmp_path, model))


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_lambda_elsewhere_is_refused_with_what_to_put_in_its_place(tmp_path):
    model = small()
    model.compile(loss=lambda wanted, given: given - wanted)

    message = refusal(saved(tmp_path, model))

    assert "has a lambda" in message
    assert "--import MODULE" in message
    assert "safe_mode" not in message


def test_a_layer_that_is_channels_first_is_named(tmp_path):
    inputs = keras.Input((3, 8, 8))
    model = keras.Model(inputs, layers.ZeroPadding2D(data_format="channels_first", name="padded")(inputs))

    assert "layer 'padded' (ZeroPadding2D) is channels_first" in refusal(saved(tmp_path, model))


def test_a_layer_that_keeps_its_state_is_named(tmp_path):
    inputs = keras.Input(batch_shape=(1, 5, 3))
    model = keras.Model(inputs, layers.GRU(4, stateful=True, name="memory")(inputs))

    assert "layer 'memory' (GRU) keeps its state" in refusal(saved(tmp_path, model))


def test_an_input_of_words_is_named(tmp_path):
    inputs = keras.Input((1,), dtype="string", name="word")
    model = keras.Model(inputs, layers.StringLookup(vocabulary=["a"])(inputs))

    assert "input 'word' takes words" in refusal(saved(tmp_path, model))


def test_an_open_dimension_other_than_the_batch_is_refused(tmp_path):
    inputs = keras.Input((None, 8, 3), name="picture")
    model = keras.Model(inputs, layers.Conv2D(2, 3)(inputs))

    assert "input 'picture' has the shape (None, None, 8, 3): only the batch may be open" in refusal(
        saved(tmp_path, model)
    )


@pytest.mark.parametrize(
    ("variable", "key", "value"),
    [("KERAS_BACKEND", "backend", "jax"), ("KERAS_IMAGE_DATA_FORMAT", "image_data_format", "channels_first")],
)
def test_other_settings_of_keras_are_refused_before_it_is_imported(tmp_path, monkeypatch, variable, key, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ModelError, match=value):
        import_keras()

    monkeypatch.delenv(variable)
    (tmp_path / "keras.json").write_text(json.dumps({key: value}))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=value):
        import_keras()


def test_without_tensorflow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)

    with pytest.raises(MissingPackageError, match=r"edgepress\[compress\]"):
        import_keras()


def test_importing_keras_prints_nothing():
    code = "import edgepress.models as m; m.import_keras(); import keras; keras.ops.ones(3)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("", "")


def test_the_sha256_of_a_file_is_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")

    assert model_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
