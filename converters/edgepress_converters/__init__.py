"""Keras models to TFLite files, and what a TFLite file says about itself. Knows nothing of devices.

- ``export``: a Keras model as a SavedModel, where the model lives.
- ``recurrent``: recurrent layers as rows of steps, for integers.
- ``pool``: converts and runs in a resident process (``child``, ``worker``) that may crash without harm.
- ``checks``: what is refused before a conversion, and of its result.
- ``flatbuffer``: reads a .tflite file into a ``model.TFLiteModel``.
- ``runtimes``: which TFLite runtime takes which model; ``probing``: how that is found out.
"""
