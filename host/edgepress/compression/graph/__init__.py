"""The one place that understands Keras graphs: a model read as a plain list of nodes, and rebuilt from it."""
