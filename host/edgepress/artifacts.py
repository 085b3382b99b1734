"""Compress and convert: one recipe's way from a Keras model to a TFLite file, kept for the next call.

An artifact is a directory::

    model.keras    the compressed model
    model.tflite   what is pushed to a board
    goldens.npys   inputs, the float32 reference outputs, the host's own outputs of the same file: with XNNPACK, and
                   (where its other kernels run the file) without
    report.json    recipe, choices, what every step changed; written last: without it the directory is not complete
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.compression.recipe import identity_of
from edgepress.compression.steps import channel_multiple
from edgepress.conversion import convert_model, inspect
from edgepress.errors import InputError, ModelError
from edgepress.sparse import convert_if_faster
from edgepress.table.result import content_hash
from edgepress.training.settings import Training
from edgepress.user_code import source_sha256
from edgepress.verification.goldens import Goldens
from edgepress_agent.protocol.tensors import decode_arrays, encode_arrays
from edgepress_converters.options import ConversionOptions

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from edgepress.compression.recipe import Recipe
    from edgepress.compression.steps import Judge
    from edgepress.data import Dataset
    from edgepress.progress import Progress
    from edgepress_converters.model import TFLiteModel
    from edgepress_converters.pool import WorkerPool

FILES = ("model.keras", "model.tflite", "goldens.npys", "report.json")
_SCHEMA = 3
_MAKERS = ("tensorflow", "keras", "ai-edge-quantizer", "ai-edge-litert")  # of models, files, and goldens
_TRIED = 16  # inputs for a conversion that only has to succeed


@dataclass(frozen=True)
class Artifact:
    """A compressed, converted model on this machine's disk.

    Attributes:
        name: of the recipe.
        directory: where its files are.
        model: the TFLite file.
        goldens: for the output check on a board.
        report: the JSON of ``report.json``.
        reused: it was there already.
    """

    name: str
    directory: Path
    model: TFLiteModel
    goldens: Goldens
    report: dict[str, Any]
    reused: bool = False

    @property
    def recipe_id(self) -> str:
        """Hash of the resolved recipe: every default and every choice filled in."""
        return str(self.report["recipe_id"])

    @classmethod
    def load(cls, directory: Path) -> Artifact | None:
        """Read an artifact; None where there is none, or an incomplete or damaged one."""
        try:
            report = json.loads((directory / "report.json").read_text())
            arrays = decode_arrays((directory / "goldens.npys").read_bytes())
            model = inspect(directory / "model.tflite")
            whole = report["schema"] == _SCHEMA and report["tflite"]["sha256"] == model.sha256
        except (OSError, ValueError, KeyError, TypeError):  # ModelError is a ValueError
            return None
        if not whole:
            return None
        answers, count = arrays[len(model.inputs) :], len(model.outputs)
        goldens = Goldens(
            inputs=arrays[: len(model.inputs)],
            reference_outputs=answers[:count],
            host_outputs=answers[count : 2 * count],
            plain_outputs=answers[2 * count :] or None,
        )
        return cls(report["recipe"]["name"], directory, model, goldens, report, reused=True)

    @classmethod
    def of_file(cls, path: Path) -> Artifact | None:
        """Read the artifact that a TFLite file is part of; None for a file from elsewhere.

        Raises:
            ModelError: it was put in the place of the file that the report beside it is about.
        """
        if path.name != "model.tflite":
            return None
        found = cls.load(path.parent)
        if found is None:
            try:
                recorded = json.loads((path.parent / "report.json").read_text())["tflite"]["sha256"]
            except (OSError, ValueError, KeyError, TypeError):
                return None
            model = inspect(path)
            if recorded != model.sha256:
                raise ModelError(
                    f"{path} (sha256 {model.sha256[:12]}) is not the file that report.json beside it is about "
                    f"({str(recorded)[:12]}). Compress again, or give it another name: then it is a file without report"
                )
        return found

    def copy_to(self, directory: Path) -> Artifact:
        """Copy the artifact's files, replacing those of the same names, and return the copy."""
        directory.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(self.directory / name, directory / name)
        return replace(self, directory=directory, model=replace(self.model, path=directory / "model.tflite"))

    def as_json(self) -> dict[str, Any]:
        """The report, and where the files are."""
        return {**self.report, "directory": str(self.directory), "reused": self.reused}


def refuse_to_overwrite(sources: Iterable[str | Path], written: Iterable[Path]) -> None:
    """Check that no file that is about to be written is one of those that are read.

    Raises:
        InputError: one is.
    """
    read = {Path(source).resolve(): source for source in sources}
    for file in written:
        if file.resolve() in read:
            raise InputError(f"{file} would be written over {read[file.resolve()]}: name another output")


class Source:
    """The Keras model that compression starts from: loaded only when some artifact is not there yet."""

    def __init__(self, path: Path, imports: Sequence[str] = ()) -> None:
        from edgepress.models import inspect_file, model_sha256

        inspect_file(path)  # a file that is no model is refused before anything else is done
        self.path = path
        self.sha256 = model_sha256(path)
        self.code = [source_sha256(module) for module in imports]  # what the file's custom classes compute
        self._imports = tuple(imports)
        self._model: keras.Model | None = None
        self._convertible: set[ConversionOptions] = set()

    def load(self) -> keras.Model:
        """Return the model; see :func:`edgepress.models.load_model` for what can be wrong with it."""
        if self._model is None:
            from edgepress.models import load_model

            self._model = load_model(self.path, self._imports)
        return self._model

    def check_convertible(
        self, options: ConversionOptions, inputs: Sequence[NDArray[Any]], pool: WorkerPool, progress: Progress
    ) -> None:
        """Convert the model as it came in, once for the same options, so that no training ends in a refusal.

        Args:
            inputs: training inputs; a few of them are ranges enough for this.

        Raises:
            ConversionError: see :func:`edgepress.conversion.convert_model`.
        """
        if options in self._convertible:
            return
        model = self.load()
        with (
            progress.task(f"trying the conversion to {options.format}"),
            tempfile.TemporaryDirectory(prefix="edgepress-") as scratch,
        ):
            convert_model(model, Path(scratch) / "model.tflite", options, [x[:_TRIED] for x in inputs], pool)
        self._convertible.add(options)


def make_artifact(
    source: Source,
    recipe: Recipe,
    dataset: Dataset,
    pool: WorkerPool,
    *,
    cache: Path,
    metric: str | None,
    seed: int,
    judge: Judge | None,
    progress: Progress,
    training: Training | None = None,
) -> Artifact:
    """Compress a model by a recipe and convert it, or return what an earlier call made of the same things.

    The same things: the model's name and content, the code named by ``--import``, the data's content and meaning, the
    recipe, metric and seed, what ``training`` says, the code of edgepress, the versions of TensorFlow and of what else
    makes or runs files, the number of channels that fill its kernels, and the device where the recipe asks one.
    """
    code = list(source.code)
    if metric is not None and ":" in metric:
        code.append(source_sha256(metric.partition(":")[0]))
    training = training or Training()
    if training.loss is not None:  # which reports and checkpoints know by its name only
        code.append(training.identity()["loss"])
    key = content_hash(
        {
            "name": source.path.name,
            "model": source.sha256,
            "code": code,
            "data": dataset.sha256,
            "input": dataset.input_spec.as_dict(),
            "recipe": recipe.name,
            "steps": [identity_of(step) for step in recipe.step],
            "conversion": asdict(recipe.conversion),
            "sparse": recipe.convert.sparse,
            "metric": metric,
            "seed": seed,
            "training": training.identity(),
            "channel_multiple": channel_multiple(judge, recipe.convert.format),
            "judged": judge.device if judge is not None and recipe.asks_the_device else None,
            "our_code": [source_sha256(package) for package in ("edgepress", "edgepress_converters")],
            "versions": [_version(package) for package in _MAKERS],
        }
    )
    directory = cache / "artifacts" / f"{recipe.name}-{key[:16]}"
    found = Artifact.load(directory)
    if found is not None:
        return found
    checkpoints = cache / "checkpoints"
    if code:  # a checkpoint is known by the model's graph and weights, which say nothing of the user's own code
        checkpoints /= content_hash(code)[:16]
    if training.logs is not None:
        training = replace(training, logs=Path(training.logs) / recipe.name / f"seed-{seed}")
    return _make(source, recipe, dataset, pool, directory, checkpoints, metric, seed, judge, progress, training)


def _make(
    source: Source,
    recipe: Recipe,
    dataset: Dataset,
    pool: WorkerPool,
    directory: Path,
    checkpoints: Path,
    metric: str | None,
    seed: int,
    judge: Judge | None,
    progress: Progress,
    training: Training,
) -> Artifact:
    pool.start()  # TensorFlow is imported there while this process trains
    model = source.load()  # and here, without its chatter: the modules below would import it aloud
    from edgepress.compression.compress import compress, with_conversion
    from edgepress.data.checks import check_fits
    from edgepress.training.objective import objective_of
    from edgepress.verification.goldens import golden_count, make_goldens

    check_fits(dataset, model)
    objective = objective_of(model, dataset, metric, training)
    if any(getattr(step, "epochs", 0) for step in recipe.step):
        # Zeros, ranges, and layers that the recipe names, may come from its steps.
        options = replace(recipe.conversion, sparse=False, int4_weights=())
        if any(step.kind == "quantize" for step in recipe.step):
            options = ConversionOptions()
        source.check_convertible(options, dataset.train.inputs, pool, progress)
    compressed = compress(
        model,
        recipe,
        dataset.training,
        objective,
        judge=judge,
        seed=seed,
        progress=progress,
        checkpoints=checkpoints,
        pool=pool,
    )
    directory.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        with progress.task(f"{recipe.name}: converting to {compressed.conversion.format}"):
            compressed.model.save(work / "model.keras")
            calibration = dataset.train.inputs if compressed.conversion.needs_calibration else None
            # The held-out split stays closed.
            inputs = dataset.val.sample(golden_count(compressed.model), seed).inputs
            file, options = work / "model.tflite", compressed.conversion
            if recipe.convert.sparse == "if-faster":
                tflite, options, why = convert_if_faster(
                    compressed.model, file, options, calibration, inputs, pool, judge
                )
                compressed = with_conversion(compressed, options, why)
            else:
                tflite = convert_model(compressed.model, file, options, calibration, pool)
            goldens = make_goldens(compressed.model, tflite, inputs, pool)
        assert goldens.reference_outputs is not None
        answers = (goldens.reference_outputs, goldens.host_outputs, goldens.plain_outputs or ())
        arrays = (*goldens.inputs, *(array for outputs in answers for array in outputs))
        (work / "goldens.npys").write_bytes(encode_arrays(arrays))
        report = {
            "schema": _SCHEMA,
            "model": source.path.name,
            "model_sha256": source.sha256,
            "data_sha256": dataset.sha256,
            "data_notes": list(dataset.notes),
            "input_spec": dataset.input_spec.as_dict(),
            "metric": objective.metric,
            "output_kinds": list(objective.output_kinds),
            "seed": seed,
            "recipe": recipe.model_dump(mode="json"),
            "recipe_id": compressed.report.recipe_id,
            "compression": compressed.report.as_dict(),
            "conversion": asdict(compressed.conversion),
            "tflite": {
                "sha256": tflite.sha256,
                "size_bytes": tflite.size_bytes,
                "computes_in_float": sorted({operator.kind for operator in tflite.float_operators})
                if compressed.conversion.computes_in_integers
                else [],
            },
        }
        (work / "report.json").write_text(json.dumps(report, indent=2, allow_nan=False))
        shutil.rmtree(directory, ignore_errors=True)  # an incomplete one
        work.replace(directory)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    made = Artifact.load(directory)
    assert made is not None
    return replace(made, reused=False)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
