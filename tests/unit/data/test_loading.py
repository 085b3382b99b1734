import sys

import keras
import numpy as np
import pytest

from edgepress.data.loading import load_dataset
from edgepress.errors import DataError

layers = keras.layers
GENERATOR = np.random.default_rng(0)
X, Y = GENERATOR.normal(size=(20, 4)), GENERATOR.integers(0, 3, 20)


def model():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])


def saved(folder, **arrays):
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return str(path)


def complete(folder, **more):
    return saved(folder, x_train=X, y_train=Y, x_val=X, y_val=Y, **more)


def test_all_splits_are_read_in_the_dtype_the_model_takes(tmp_path):
    dataset = load_dataset(complete(tmp_path, x_test=X[:5], y_test=Y[:5]), model(), seed=0)

    assert (len(dataset.train), len(dataset.val), len(dataset.held_out)) == (20, 20, 5)
    assert dataset.train.inputs[0].dtype == np.float32
    assert dataset.input_spec.shapes == ((4,),)
    assert dataset.input_spec.value_ranges[0] == pytest.approx((X.min(), X.max()))
    assert dataset.notes == ()


def test_without_a_test_split_a_seeded_half_of_val_is_set_aside_and_said(tmp_path):
    path = complete(tmp_path)
    first, again, other = (load_dataset(path, model(), seed) for seed in (1, 1, 2))

    assert (len(first.val), len(first.held_out)) == (10, 10)
    assert "half of val (10 of 20 samples, seed 1)" in first.notes[0]
    together = np.concatenate([first.val.inputs[0], first.held_out.open("test").inputs[0]])
    assert sorted(together[:, 0]) == sorted(X.astype(np.float32)[:, 0])
    assert first.sha256 == again.sha256 != other.sha256


def test_several_inputs_and_outputs_are_numbered_in_model_order(tmp_path):
    inputs = [keras.Input((4,)), keras.Input((2,))]
    x = layers.Concatenate()(inputs)
    two = keras.Model(inputs, [layers.Dense(3)(x), layers.Dense(1)(x)])
    arrays = {}
    for split in ("train", "val"):
        arrays |= {f"x_{split}_0": X, f"x_{split}_1": X[:, :2], f"y_{split}_0": Y, f"y_{split}_1": X[:, 0]}

    dataset = load_dataset(saved(tmp_path, **arrays), two, seed=0)

    assert [x.shape[1:] for x in dataset.train.inputs] == [(4,), (2,)]
    assert [y.dtype.kind for y in dataset.train.targets] == ["i", "f"]


def test_meaning_of_the_input_is_taken_from_the_file(tmp_path):
    path = complete(tmp_path, labels=np.array(["a", "b", "c"]), color="rgb", mean=[1.0, 2.0], scale=255.0)

    spec = load_dataset(path, model(), seed=0).input_spec

    assert (spec.labels, spec.color, spec.mean, spec.scale) == (("a", "b", "c"), "rgb", (1.0, 2.0), (255.0,))


def test_missing_arrays_are_named_beside_those_that_are_there(tmp_path):
    with pytest.raises(DataError, match=r"lacks y_train, y_val; there are: x_train, x_val, labels"):
        load_dataset(saved(tmp_path, x_train=X, x_val=X, labels=Y), None, seed=0)
    with pytest.raises(DataError, match="lacks y_test"):
        load_dataset(complete(tmp_path, x_test=X), None, seed=0)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no zip")
    np.save(tmp_path / "single.npy", X)
    np.savez(tmp_path / "objects.npz", x_train=np.array([{}, []], object))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "objects.npz").read_bytes()[:60])

    for name, words in {
        "nothing.npz": "no file",
        "text.npz": r"no \.npz file",
        "single.npy": "single array",
        "objects.npz": "Python objects",
        "cut.npz": r"no \.npz file",
        "": "is a folder",
    }.items():
        with pytest.raises(DataError, match=words):
            load_dataset(str(tmp_path / name), None, seed=0)


def test_an_unknown_color_lists_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="'cmyk'; it can be rgb, bgr or gray"):
        load_dataset(complete(tmp_path, color="cmyk"), None, seed=0)


def test_fractions_are_not_cut_to_whole_numbers_for_an_integer_input(tmp_path):
    whole = keras.Sequential([keras.Input((4,), dtype="int32"), layers.Embedding(9, 2), layers.Flatten()])

    with pytest.raises(DataError, match="model takes int32"):
        load_dataset(complete(tmp_path), whole, seed=0)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's, in the working directory."""
    (tmp_path / "my_data.py").write_text(
        "import numpy as np\n"
        "from edgepress.data import Dataset\n"
        "x, y = np.zeros((6, 4), 'float32'), np.arange(6) % 3\n"
        "def make(): return Dataset.from_arrays(x, y, x, y)\n"
        "def wrong(): return x, y\n"
        "def late(): import my_late; return make()\n"
    )
    (tmp_path / "my_late.py").touch()
    (tmp_path / "my_broken.py").write_text("1 / 0")
    (tmp_path / "my_needy.py").write_text("import not_installed_anywhere")
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("my_data", None)


@pytest.mark.usefixtures("module")
def test_a_function_in_the_working_directory_may_make_the_data():
    before = list(sys.path)

    assert len(load_dataset("my_data:make", model(), seed=0).train) == 6
    assert len(load_dataset("my_data:late", model(), seed=0).train) == 6  # imports another of the user's modules
    assert sys.path == before


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("my_data:nothing", "no function 'nothing'; it has: .*make"),
        ("my_data:wrong", r"returned tuple.*Dataset\.from_arrays"),
        ("my_missing:make", "no module 'my_missing'"),
        ("my_broken:make", "failed when it was imported: ZeroDivisionError"),
        ("my_needy:make", "imports 'not_installed_anywhere', which is not installed"),
    ],
)
def test_what_is_wrong_with_a_data_function_is_said(spec, words):
    with pytest.raises(DataError, match=words):
        load_dataset(spec, None, seed=0)


def test_a_folder_that_nothing_explains_is_refused_with_what_can_be_handed_in(tmp_path):
    with pytest.raises(DataError, match=r"a table \[input\].*elsewhere hand in an \.npz file, or module:function"):
        load_dataset(str(tmp_path), None, seed=0)
