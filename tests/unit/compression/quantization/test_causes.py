"""Causes: told by what a layer reads, and by how well the float model answers its calibration data."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgepress.compression.quantization import causes
from edgepress.compression.quantization.causes import Reading, cause_of, preprocessing_mismatch
from edgepress.data import Split
from edgepress.training.metrics import metric_named


def reading(peaks: Any, **settings: Any) -> Reading:
    peaks = np.asarray(peaks, np.float64)
    usual: dict[str, Any] = {
        "low": 0.0,
        "high": float(peaks.max()),
        "is_fixed": False,
        "makers": ("before",),
        "widths": (len(peaks),),
        "filter_ranges": None,
    }
    return Reading(peaks, **{**usual, **settings})


def kind_of(*readings: Reading, kernel_share: float = 0.1) -> str | None:
    cause = cause_of("layer", readings, kernel_share)
    return cause.kind if cause else None


def test_channels_of_about_the_same_range_are_no_cause() -> None:
    assert kind_of(reading([1, 2, 3, 4])) is None


def test_one_channel_far_above_all_others_is_an_outlier_and_is_named() -> None:
    cause = cause_of("layer", [reading([1, 2, 400, 3])], 0.1)
    assert cause is not None
    assert (cause.kind, cause.layers) == (causes.OUTLIER, ("layer", "before"))
    assert "channel 2 of before" in cause.what


def test_an_outlier_in_a_concatenation_is_named_by_its_own_layer() -> None:
    cause = cause_of("layer", [reading([1, 2, 3, 400], makers=("one", "two"), widths=(2, 2))], 0.1)
    assert cause is not None
    assert "channel 1 of two" in cause.what


def test_channels_spread_over_a_wide_range_are_channel_scales() -> None:
    assert kind_of(reading(2.0 ** np.arange(-4, 5))) == causes.SCALES


def test_filters_more_than_a_hundred_times_apart_are_channel_scales() -> None:
    assert kind_of(reading([1, 2, 3], filter_ranges=np.array([0.01, 1, 2]))) == causes.SCALES


def test_a_loud_part_of_a_concatenation_is_its_cause() -> None:
    cause = cause_of("layer", [reading([100, 90, 1, 2], makers=("loud", "quiet"), widths=(2, 2))], 0.1)
    assert cause is not None
    assert (cause.kind, cause.layers) == (causes.CONCAT, ("layer", "loud", "quiet"))


def test_parts_of_about_the_same_range_are_no_cause() -> None:
    assert kind_of(reading([3, 1, 1, 2], makers=("one", "two"), widths=(2, 2))) is None


def test_a_gate_that_uses_few_levels_of_a_prescribed_range_is_its_cause() -> None:
    gate = reading([0.02, 0.01], high=255 / 256, is_fixed=True, makers=("gate",))
    assert kind_of(reading([3, 4]), gate) == causes.GATE


def test_a_gate_that_uses_its_range_is_no_cause() -> None:
    assert kind_of(reading([0.9, 0.6], high=255 / 256, is_fixed=True)) is None


def test_an_error_that_the_weights_alone_make_is_the_kernels_where_nothing_else_stands_out() -> None:
    assert kind_of(reading([1, 2, 3]), kernel_share=0.9) == causes.KERNEL
    assert kind_of(reading([1, 2, 400, 3]), kernel_share=0.9) == causes.OUTLIER


@pytest.fixture(scope="module")
def known() -> tuple[Any, Split]:
    """A model that answers whether a picture in 0..1 is dark, grey or bright, and pictures."""
    levels = np.array([0.25, 0.5, 0.75])
    inputs = keras.Input((4, 4, 1))
    x = layers.Dense(3, name="answer")(layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, x)
    model.get_layer("answer").set_weights([2 * levels[None], -(levels**2)])  # the nearest one
    labels = np.random.default_rng(1).integers(3, size=600)
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (600, 4, 4, 1))
    return model, Split(((levels[labels][:, None, None, None] + noise).astype(np.float32),), (labels,))


def mismatch(known: tuple[Any, Split], prepare: Any) -> causes.Mismatch | None:
    model, data = known
    calibration = Split((prepare(data.inputs[0]).astype(np.float32),), data.targets)
    return preprocessing_mismatch(model, calibration, data, metric_named("accuracy"))


def test_data_that_the_model_answers_as_well_as_validation_data_match(known: tuple[Any, Split]) -> None:
    assert mismatch(known, lambda x: x) is None


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda x: x * 255, "divided by 255"),
        (lambda x: x / 255, "times 255"),
        (lambda x: 2 * x - 1, "from -1..1 to 0..1"),
    ],
)
def test_data_prepared_otherwise_are_found_and_repaired(known: tuple[Any, Split], prepare: Any, words: str) -> None:
    found = mismatch(known, prepare)
    assert found is not None
    assert found.preparation is not None
    assert found.preparation.words == words
    wrong = Split((prepare(known[1].inputs[0]),), known[1].targets)
    np.testing.assert_allclose(found.repaired(wrong).inputs[0], known[1].inputs[0], atol=1e-5)


def test_data_that_nothing_makes_right_are_found_and_left_alone(known: tuple[Any, Split]) -> None:
    found = mismatch(known, lambda x: x - 17)
    assert found is not None
    assert found.preparation is None
    assert found.repaired(known[1]) is known[1]
