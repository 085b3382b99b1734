"""What each kind of layer does with channels: one small function per kind, and one registry.

A layer of your own gets a rule in a few lines. One that works on each channel alone and has one weight per channel::

    from edgepress.compression.graph.channels import Binding
    from edgepress.compression.graph.rules import channel_rule

    @channel_rule(MyScale)
    def my_scale(call):
        (channels,) = call.inputs
        return Binding((channels,), weights=((channels,),))

Weights are those of ``get_weights()``, in its order, with the labels of every axis that belongs to channels. A rule may
be wrong without harm: every structural change is proven against the model with the same channels zeroed.
"""

from edgepress.compression.graph.rules import (  # noqa: F401  (they register themselves)
    applications,
    attention,
    elementwise,
    joining,
    normalization,
    positions,
    recurrent,
    shapes,
    weighted,
)
from edgepress.compression.graph.rules.registry import channel_rule, rule_for

__all__ = ["channel_rule", "rule_for"]
