"""Rules for layers of one's own."""

import keras
import pytest

from edgepress.compression.graph.channels import Binding
from edgepress.compression.graph.rules import channel_rule
from edgepress.compression.pruning.surgery import remove_channels
from edgepress.errors import CompressionError
from support.channel_surgery import channels_in, cut, free, then
from support.compress_models import randomised

layers = keras.layers


class Gain(layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="random_normal")

    def call(self, x):
        return x * self.gain


class Mixing(layers.Layer):
    def __init__(self, units, **settings):
        super().__init__(**settings)
        self.units = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer="random_normal")
        self.bias = self.add_weight(shape=(self.units,), initializer="random_normal")

    def call(self, x):
        return x @ self.kernel + self.bias

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Reversed(layers.Layer):
    def call(self, x):
        return x[..., ::-1]


def test_a_custom_layer_gets_a_rule_in_a_few_lines():
    @channel_rule(Gain)
    def gain(call):
        (channels,) = call.inputs
        return Binding((channels,), weights=((channels,),))

    model = then(Gain(), layers.Conv2D(2, 1))

    assert cut(model).largest_difference < 1e-5
    assert free(model) == {"conv"}


def test_a_custom_layer_that_makes_channels_is_pruned_like_any_other():
    @channel_rule(Mixing)
    def mixing(call):
        (inputs,), units = call.inputs, call.make(call.layer.units)
        return Binding(
            (units,),
            weights=((inputs, units), (units,)),
            settings=lambda kept: {"units": kept(units)},
            makes={"units": units},
        )

    model = then(Mixing(6, name="mixing"), layers.Dense(2))

    assert cut(model).model.get_layer("mixing").units == 3
    assert free(model) == {"conv", "mixing"}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda inputs, units: Binding((units,), weights=((inputs, units),)),  # it has a bias, too
        lambda inputs, units: Binding((units,), weights=((units, inputs), (units,))),
        lambda inputs, units: Binding((units,), weights=((inputs, units), (units, None))),
        lambda inputs, units: Binding((units, units), weights=((inputs, units), (units,))),
    ],
)
def test_a_rule_that_does_not_fit_its_layer_is_an_error_that_names_both(wrong):
    @channel_rule(Mixing)
    def mixing(call):
        return wrong(call.inputs[0], call.make(call.layer.units))

    with pytest.raises(CompressionError, match=r"mixing \(Mixing\) does not fit.*\(8, 6\), \(6,\)"):
        channels_in(then(Mixing(6, name="mixing"), layers.Dense(2)))


def test_a_rule_that_is_wrong_is_found_out_and_gives_no_model():
    @channel_rule(Reversed)
    def wrong(call):
        return Binding((call.inputs[0],))

    channels = channels_in(randomised(then(Reversed(), layers.Conv2D(2, 1))))
    (group,) = (group for group in channels.groups if group.frozen is None)

    with pytest.raises(CompressionError, match=r"differs by .* mistake in a rule"):
        remove_channels(channels, group.atoms[:3])
