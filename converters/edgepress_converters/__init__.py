"""Keras models to TFLite files, and what a TFLite file says about itself. Knows nothing of devices."""
