"""``quantize debug`` as a function: which layers of a Keras model lose in int8, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.artifacts import Artifact, Source
from edgepress.progress import Progress, Silent
from edgepress.table.figures import Figures, Part, figures_of_file
from edgepress.table.store import ResultStore

if TYPE_CHECKING:
    from edgepress.compression.quantization.causes import Cause
    from edgepress.compression.quantization.diagnosis import Diagnosis
    from edgepress.compression.steps import Skip
    from edgepress.data import Dataset
    from edgepress_converters.model import TFLiteModel
    from edgepress_converters.options import Calibration

QUANTIZATION_ERROR = "quantization error by layer"
CALIBRATION_SAMPLES = 200


@dataclass(frozen=True)
class Debugged:
    """What int8 does to a model.

    Attributes:
        model: its name.
        metric: of ``metric_float`` and ``metric_int8``, both on the validation split; int8 as computed by Keras with
            rounding.
        diagnosis: layer by layer.
        causes: of the whole, the most likely first.
        left: layers that stay float.
        file: the TFLite file beside the model, whose rows the figures are kept with; None where there is none.
    """

    model: str
    metric: str
    metric_float: float
    metric_int8: float
    diagnosis: Diagnosis
    causes: tuple[Cause, ...]
    left: tuple[Skip, ...]
    file: TFLiteModel | None

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "model": self.model,
            "metric": self.metric,
            "metric_float": self.metric_float,
            "metric_int8": self.metric_int8,
            **self.diagnosis.as_json(),
            "causes": [asdict(cause) for cause in self.causes],
            "left_float": [asdict(skip) for skip in self.left],
            "file": self.file.path.name if self.file else None,
        }


def debug_quantization(
    model: str | Path,
    *,
    data: str | Dataset,
    calibration: Calibration = "minmax",
    metric: str | None = None,
    imports: Sequence[str] = (),
    seed: int = 0,
    db: str | None = None,
    progress: Progress | None = None,
) -> Debugged:
    """Compare a ``.keras`` file in float with itself in int8, layer by layer, on training data.

    A model that ``compress`` left beside its int8 file leaves its figures with the rows of that file.

    Args:
        calibration: by which rule ranges are taken; a model that has ranges of its own keeps them.

    Raises:
        ModelError, DataError: the file or the data cannot be used. CompressionError: it cannot be annotated.
    """
    shown = progress or Silent()
    path = Path(model)
    loaded = Source(path, imports).load()
    from edgepress.compression.quantization.annotate import annotate, fake_quants
    from edgepress.compression.quantization.causes import PREPROCESSING, Cause, preprocessing_mismatch
    from edgepress.compression.quantization.diagnosis import diagnose
    from edgepress.compression.quantization.preparation import unlike_training
    from edgepress.compression.quantization.ranges import not_rounding, set_ranges
    from edgepress.data.checks import check_fits
    from edgepress.data.loading import load_dataset
    from edgepress.training.evaluate import predict
    from edgepress.training.metrics import metric_named
    from edgepress.training.objective import objective_of

    dataset = load_dataset(data, loaded, seed) if isinstance(data, str) else data
    check_fits(dataset, loaded)
    judged_by = metric_named(objective_of(loaded, dataset, metric).metric)
    sample = dataset.train.sample(min(CALIBRATION_SAMPLES, len(dataset.train)), seed)
    left: tuple[Skip, ...] = ()
    memory = unlike_training(loaded, sample.inputs)
    with shown.task("float against int8"):
        ranged = loaded
        if not fake_quants(loaded):
            annotated = annotate(loaded)
            ranged, left = set_ranges(annotated.model, sample.inputs, calibration), annotated.left
        val = dataset.val
        metric_int8 = judged_by.compute(predict(ranged, val.inputs), val.targets)
        with not_rounding(ranged, {}):
            metric_float = judged_by.compute(predict(ranged, val.inputs), val.targets)
            mismatch = preprocessing_mismatch(ranged, dataset.train, val, judged_by, seed)
        diagnosis = diagnose(ranged, sample)
    of_data = mismatch.cause if mismatch is not None else None
    if of_data is None and memory is not None:
        of_data = Cause(PREPROCESSING, (), memory, "prepare calibration data as the model's training data were")
    artifact = Artifact.load(path.parent) if path.name == "model.keras" else None
    found = Debugged(
        path.name,
        judged_by.name,
        metric_float,
        metric_int8,
        diagnosis,
        (*([of_data] if of_data is not None else []), *diagnosis.causes),
        left,
        artifact.model if artifact is not None and artifact.report["conversion"]["format"] == "int8" else None,
    )
    if found.file is not None:
        with ResultStore.open(db) as store:
            store.record_figures(figures_of(found, found.file))
    return found


def figures_of(found: Debugged, file: TFLiteModel) -> Figures:
    """Return the local errors as figures of the layers of a file."""
    parts = tuple(
        Part(one.kind, one.layer, one.local, one.cause.what if one.cause else "") for one in found.diagnosis.layers
    )
    source = f"edgepress quantize debug {version('edgepress')}"
    return figures_of_file(file, parts, QUANTIZATION_ERROR, source, file.path.name)
