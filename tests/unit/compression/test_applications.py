"""Five models of different families. All of keras.applications: benchmarks/pruning_coverage.py."""

import keras
import numpy as np
import pytest

from edgepress.compression.graph.channels import channels_of
from edgepress.compression.graph.reader import read
from edgepress.compression.graph.rules import rule_for
from edgepress.compression.pruning.surgery import remove_channels
from edgepress.training.cost import cost_of

applications = keras.applications


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (applications.MobileNetV2, {"alpha": 0.35}),  # inverted residuals, depthwise
        (applications.EfficientNetB0, {}),  # squeeze-and-excite
        (applications.ResNet50V2, {}),  # pre-activation
        (applications.DenseNet121, {}),  # Concatenate
        (applications.ConvNeXtTiny, {}),  # LayerNormalization, Dense as convolution
    ],
)
def test_half_of_all_channels_of_an_application_are_removed_and_proven(build, settings):
    model = build(weights=None, input_shape=(32, 32, 3), classes=10, **settings)
    channels = channels_of(read(model), rule_for)
    removed = np.concatenate([group.atoms[1::2] for group in channels.groups if group.frozen is None])

    surgery = remove_channels(channels, removed)

    frozen = [name for group in channels.groups if group.frozen is not None for name in group.producers]
    assert len(frozen) == 1  # the last layer, which makes the model's output
    assert surgery.largest_difference < 1e-5
    assert cost_of(surgery.model).macs < 0.4 * cost_of(model).macs
