"""Compress a Keras model, run it on your own board, believe the number."""
