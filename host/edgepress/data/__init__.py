"""Data that users hand in: what an input is, the splits, and the test split that no step can receive."""

from edgepress.data.dataset import Dataset, HeldOut, Split, TrainingData
from edgepress.data.input_spec import InputSpec

__all__ = ["Dataset", "HeldOut", "InputSpec", "Split", "TrainingData"]
