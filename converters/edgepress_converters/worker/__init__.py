"""The process in which models are converted and run: ``python -m edgepress_converters.worker``.

The converter and the runtimes can crash on a model, and write to the terminal past Python; here neither reaches the
host. :mod:`edgepress_converters.pool` is the host's side.
"""
