"""int8 made in Keras: folded, annotated, calibrated, trained; and what went wrong, found and repaired.

- ``folding.fold_batchnorm(model) -> Folded(model, folded, left)``: the same numbers without BatchNormalization, where a
  layer before it can take it in. ``folding.scale_and_offset(norm)``.
- ``annotate.annotate(model, left_float=frozenset()) -> Annotated(model, left)``: folds, decomposes, and puts a
  ``layers.FakeQuant`` behind each tensor that int8 kernels round and a ``layers.Quantized...`` in place of each layer
  with weights (same name, same weights). ``annotate.fake_quants(model)``: the ranges by name.
- ``ranges.set_ranges(annotated, samples, method) -> model``: ``minmax``, ``percentile`` or ``mse``; a copy with ranges.
  ``ranges.not_rounding(model, observers)``: the annotated model in float, each tensor shown.
- ``annotate.conversion_of(model, options)``: the options by which a model with ranges is converted
  (``ranges="in-model"``, and ``allow_float`` for what was left in float). ``Annotated.conversion(options)``: the same.
- ``qat``: the steps ``ptq`` and ``qat``. ``preparation.unlike_training(model, inputs)``: a warning about other scales.
"""
