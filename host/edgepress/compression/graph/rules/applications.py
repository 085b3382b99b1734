"""Rules of the layers that ``keras.applications`` defines for itself."""

from __future__ import annotations

import numpy as np
from keras.src.applications.convnext import LayerScale
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

from edgepress.compression.graph.channels import Binding, Call
from edgepress.compression.graph.rules.registry import channel_rule


@channel_rule(LayerScale)
def _layer_scale(call: Call) -> Binding:
    (inputs,) = call.inputs
    return Binding(
        (inputs,),
        ((inputs,),),
        lambda count: {"projection_dim": count(inputs)},
        constant=lambda _, __: np.zeros(len(inputs)),
    )


@channel_rule(CustomScaleLayer)
def _scaled_residual(call: Call) -> Binding:
    first, second = call.inputs
    call.tie(first, second)
    scale = call.layer.scale
    return Binding((first,), constant=lambda constants, _: constants[0] + scale * constants[1])
