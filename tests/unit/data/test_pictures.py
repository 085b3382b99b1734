import numpy as np
import pytest
from PIL import Image

from edgepress.data import Dataset
from edgepress.data.loading import load_dataset
from edgepress.data.pictures import Pictures
from edgepress.errors import DataError

RED = (200, 10, 30)
SMALL = Pictures((2, 3))


def draw(path, color=RED, size=(3, 2), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


def by_split(folder, splits=("train", "val", "test"), count=2):
    for split in splits:
        for label, color in (("blue", (0, 0, 255)), ("red", RED)):
            for number in range(count):
                draw(folder / split / label / f"{number}.png", color)
    return folder


def test_pictures_by_split_and_class_become_inputs_labels_and_their_meaning(tmp_path):
    by_split(tmp_path)
    (tmp_path / "train/blue/notes.txt").write_text("no picture")

    dataset = load_dataset(str(tmp_path), None, 0, Pictures((4, 6), mean=(10.0,), scale=(2.0,)))

    assert dataset.train.inputs[0].shape == (4, 4, 6, 3)
    assert dataset.train.inputs[0].dtype == np.float32
    assert dataset.train.targets[0].tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(dataset.train.inputs[0][3, 0, 0], [95, 0, 10])
    spec = dataset.input_spec
    assert (spec.labels, spec.color, spec.mean, spec.scale) == (("blue", "red"), "rgb", (10.0,), (2.0,))
    assert dataset.notes == ()


@pytest.mark.parametrize(("color", "pixel"), [("rgb", [200, 10, 30]), ("bgr", [30, 10, 200]), ("gray", [69])])
def test_channels_come_in_the_order_that_was_asked_for(color, pixel, tmp_path):
    draw(tmp_path / "red.png")

    assert Pictures((2, 3), color).read(tmp_path / "red.png")[0, 0].tolist() == pixel


def test_a_picture_is_read_as_it_was_held_and_without_its_transparency(tmp_path):
    tall = Image.fromarray(np.array([[[255, 0, 0, 128]], [[0, 0, 255, 0]]], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    tall.save(tmp_path / "held.png", exif=exif)

    assert Pictures((2, 1)).read(tmp_path / "held.png")[:, 0].tolist() == [[0, 0, 255], [255, 0, 0]]


def test_pictures_without_splits_are_split_by_seed_the_same_share_of_every_class(tmp_path):
    for label in ("a", "b"):
        for number in range(20):
            draw(tmp_path / label / f"{number}.png", (number, 0, 0))

    first, again, other = (load_dataset(str(tmp_path), None, seed, SMALL) for seed in (1, 1, 2))

    assert [len(split) for split in (first.train, first.val, first.held_out)] == [28, 6, 6]
    assert np.bincount(first.val.targets[0]).tolist() == [3, 3]
    assert first.sha256 == again.sha256 != other.sha256
    assert first.notes == ("pictures were split by seed 1: 28 train, 6 val, 6 test",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "val/green").mkdir(), "green has no pictures"),
        (lambda folder: draw(folder / "val/green/0.png"), "val has the class 'green', which train has not: blue, red"),
        (lambda folder: (folder / "val").rename(folder / "x"), "no folder val"),
        (lambda folder: (folder / "val/red/0.png").write_bytes(b"no"), r"red.0\.png is not a picture"),
    ],
)
def test_a_folder_that_cannot_be_used_is_explained(change, words, tmp_path):
    change(by_split(tmp_path))

    with pytest.raises(DataError, match=words):
        load_dataset(str(tmp_path), None, 0, SMALL)


def test_a_folder_without_a_word_on_how_to_read_it_asks_for_it(tmp_path):
    with pytest.raises(DataError, match=r"\[input\] with size"):
        load_dataset(str(by_split(tmp_path)), None, 0)


def test_other_data_take_their_meaning_from_the_recipe_unless_they_say_something_else(tmp_path):
    x, y = np.zeros((4, 2, 3, 3), np.float32), np.array([0, 1, 0, 1])
    arrays = {"x_train": x, "y_train": y, "x_val": x, "y_val": y}
    np.savez(tmp_path / "silent.npz", **arrays)
    np.savez(tmp_path / "other.npz", **arrays, color="bgr")

    spec = load_dataset(str(tmp_path / "silent.npz"), None, 0, Pictures((2, 3), scale=(255.0,))).input_spec

    assert (spec.color, spec.scale) == ("rgb", (255.0,))
    assert isinstance(load_dataset(str(tmp_path / "silent.npz"), None, 0), Dataset)
    with pytest.raises(DataError, match="prepared otherwise"):
        load_dataset(str(tmp_path / "other.npz"), None, 0, SMALL)
    with pytest.raises(DataError, match=r"wants pictures of shape \(8, 8, 3\) \(rgb\).*\(2, 3, 3\)"):
        load_dataset(str(tmp_path / "silent.npz"), None, 0, Pictures((8, 8)))
